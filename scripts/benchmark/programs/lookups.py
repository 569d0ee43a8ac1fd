"""Look-ups of each VM and each location by name, and nothing else."""

from pulumi_vmbackup import (
    get_backup_location,
    get_backup_locations,
    get_virtual_machine,
    get_virtual_machines,
)

for vm in get_virtual_machines():
    get_virtual_machine(ref=vm.ref)
for location in get_backup_locations():
    get_backup_location(path=location.path)
