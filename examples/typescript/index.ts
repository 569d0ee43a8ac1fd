// One VM goes to an offsite location, and two more in one resource.

import * as vmbackup from "pulumi-vmbackup";

const sql01 = vmbackup.getVirtualMachineOutput({ name: "SQL01" });
const file01 = vmbackup.getVirtualMachineOutput({ name: "FILE01" });
const exch01 = vmbackup.getVirtualMachineOutput({ name: "EXCH01" });
const offsite = vmbackup.getBackupLocationOutput({ path: "\\\\OFFSITE01\\VMBackups" });
const rotating = vmbackup.getBackupLocationOutput({ path: "Rotating disks" });

const assignment = new vmbackup.VmBackupLocationAssignment("sql01-offsite", {
    vmRef: sql01.ref,
    backupLocationId: offsite.id,
});

// The keys are for people, and previews show them; the ids decide.
new vmbackup.VmBackupLocationAssignmentSet("others-offsite", {
    assignments: {
        FILE01: { vmRef: file01.ref, backupLocationIds: { offsite: offsite.id, rotating: rotating.id } },
        EXCH01: { vmRef: exch01.ref, backupLocationIds: { offsite: offsite.id } },
    },
});

export const vmName = assignment.vmName;
export const locationPath = assignment.locationPath;
