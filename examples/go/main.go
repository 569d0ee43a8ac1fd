// One VM goes to an offsite location, and two more in one resource.
package main

import (
	"github.com/pulumi-vmbackup/pulumi-vmbackup/sdk/go/vmbackup"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		sql01 := vm(ctx, "SQL01")
		file01 := vm(ctx, "FILE01")
		exch01 := vm(ctx, "EXCH01")
		offsite := location(ctx, `\\OFFSITE01\VMBackups`)
		rotating := location(ctx, "Rotating disks")

		assignment, err := vmbackup.NewVmBackupLocationAssignment(ctx, "sql01-offsite",
			&vmbackup.VmBackupLocationAssignmentArgs{
				VmRef:            sql01,
				BackupLocationId: offsite,
			})
		if err != nil {
			return err
		}

		// The keys are for people, and previews show them; the ids decide.
		_, err = vmbackup.NewVmBackupLocationAssignmentSet(ctx, "others-offsite",
			&vmbackup.VmBackupLocationAssignmentSetArgs{
				Assignments: vmbackup.VmBackupLocationsMap{
					"FILE01": vmbackup.VmBackupLocationsArgs{
						VmRef:             file01,
						BackupLocationIds: pulumi.StringMap{"offsite": offsite, "rotating": rotating},
					},
					"EXCH01": vmbackup.VmBackupLocationsArgs{
						VmRef:             exch01,
						BackupLocationIds: pulumi.StringMap{"offsite": offsite},
					},
				},
			})
		if err != nil {
			return err
		}

		ctx.Export("vmName", assignment.VmName)
		ctx.Export("locationPath", assignment.LocationPath)
		return nil
	})
}

func vm(ctx *pulumi.Context, name string) pulumi.StringOutput {
	args := vmbackup.GetVirtualMachineOutputArgs{Name: pulumi.String(name)}
	return vmbackup.GetVirtualMachineOutput(ctx, args).Ref()
}

func location(ctx *pulumi.Context, path string) pulumi.StringOutput {
	args := vmbackup.GetBackupLocationOutputArgs{Path: pulumi.String(path)}
	return vmbackup.GetBackupLocationOutput(ctx, args).Id()
}
