from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_location,
    get_virtual_machine,
    plugin,
)

off = get_backup_location(path=r"\\OFFSITE01\VMBackups")
rot = get_backup_location(path="Rotating disks")
sql = get_virtual_machine(name="SQL01")
VmBackupLocationAssignment("dyn", vm_ref=sql, backup_location_id=off)
VmBackupLocationAssignment(
    "dyn-id", vm_ref="{BA2E9CDC-0D85-48E6-8DB7-A45C5A40819E}", backup_location_id=rot
)
plugin.VmBackupLocationAssignment(
    "single", vm_ref=get_virtual_machine(name="FILE01"), backup_location_id=off
)
plugin.VmBackupLocationAssignmentSet(
    "set",
    assignments={
        get_virtual_machine(name="EXCH01"): [off, rot],
        get_virtual_machine(name="SQL02"): [off],
    },
    exclusive=True,
)
