// The Pulumi package vmbackup, typed: copy this file into your own program.

import * as pulumi from "@pulumi/pulumi";

export interface ProviderArgs {
    /** The API's version: 8, 9.0 or 9.1 (also for later ones). */
    apiVersion?: pulumi.Input<string>;
    /** Where the API answers, such as http://localhost:36013/api/rest. */
    baseUrl?: pulumi.Input<string>;
    /** The Windows account that starts a session. */
    username?: pulumi.Input<string>;
    /** That account's password; kept as a secret. */
    password?: pulumi.Input<string>;
    /** That account's domain. */
    domain?: pulumi.Input<string>;
    /** A session that somebody else started; kept as a secret. */
    sessionToken?: pulumi.Input<string>;
    /** The VM Backup server that the API logs in to. */
    serverAddress?: pulumi.Input<string>;
    /** The port of that server. */
    serverPort?: pulumi.Input<number>;
    /** The file with the certificate to trust, PEM or DER. */
    caFile?: pulumi.Input<string>;
    /** The Host header to send. */
    hostHeader?: pulumi.Input<string>;
    /** How many seconds the server may be silent in one HTTP exchange. */
    timeoutSeconds?: pulumi.Input<number>;
    /** How many seconds to wait while something else holds the API. */
    sessionWaitSeconds?: pulumi.Input<number>;
    /** How many seconds a fresh assignment may be missing from what the server lists. */
    settleSeconds?: pulumi.Input<number>;
    /** How many HTTP requests may be under way at a time, from 1 to 32. */
    parallelRequests?: pulumi.Input<number>;
    /** The snapshot that previews read when the server cannot be asked. */
    inventoryFile?: pulumi.Input<string>;
    /**
     * Whether an update may un-assign more than ten pairs and more than half of them, or a VM that
     * the server does not list.
     */
    allowMassRemoval?: pulumi.Input<boolean>;
}

/**
 * The way to one VM Backup server, for programs that have several. What is left out is taken from
 * the stack's configuration, then from the environment. But a provider of another server than theirs
 * takes nothing from there that belongs to a server, such as the password.
 */
export class Provider extends pulumi.ProviderResource {
    constructor(name: string, args: ProviderArgs = {}, opts?: pulumi.ResourceOptions) {
        const secret = (value?: pulumi.Input<string>) => value === undefined ? undefined : pulumi.secret(value);
        super(
            "vmbackup",
            name,
            { ...args, password: secret(args.password), sessionToken: secret(args.sessionToken) },
            opts,
        );
    }
}

export interface VmBackupLocationAssignmentArgs {
    /** The VM's AltaroVirtualMachineRef, a GUID in any case, with or without braces. */
    vmRef: pulumi.Input<string>;
    /** The BackupLocationId, a GUID likewise. */
    backupLocationId: pulumi.Input<string>;
}

/** Assigns a virtual machine to a backup location. Its id is `<vmRef>/<backupLocationId>`. */
export class VmBackupLocationAssignment extends pulumi.CustomResource {
    declare readonly vmRef: pulumi.Output<string>;
    declare readonly backupLocationId: pulumi.Output<string>;
    /** The VM's name when it was assigned. */
    declare readonly vmName: pulumi.Output<string | undefined>;
    /** The location's path. */
    declare readonly locationPath: pulumi.Output<string | undefined>;
    /** `primary` or `offsite`. */
    declare readonly kind: pulumi.Output<string | undefined>;
    /** When Pulumi assigned or adopted it, as ISO 8601 in UTC. */
    declare readonly assignedAt: pulumi.Output<string | undefined>;

    constructor(name: string, args: VmBackupLocationAssignmentArgs, opts?: pulumi.CustomResourceOptions) {
        const outputs = { vmName: undefined, locationPath: undefined, kind: undefined, assignedAt: undefined };
        super("vmbackup:index:VmBackupLocationAssignment", name, { ...args, ...outputs }, opts);
    }

    /** An assignment that exists, which the program reads but does not manage. */
    static get(name: string, id: pulumi.Input<pulumi.ID>, opts?: pulumi.CustomResourceOptions) {
        const args = { vmRef: undefined, backupLocationId: undefined } as unknown as VmBackupLocationAssignmentArgs;
        return new VmBackupLocationAssignment(name, args, { ...opts, id });
    }
}

/** A virtual machine and the backup locations that it goes to. */
export interface VmBackupLocations {
    /** The VM's AltaroVirtualMachineRef. */
    vmRef: string;
    /** The BackupLocationIds, each by a label that people read, such as the location's path. */
    backupLocationIds: Record<string, string>;
    /** The name of the VM's host; used in warnings only. */
    host?: string;
}

/** The same in a program, where the ids may be outputs. */
export interface VmBackupLocationsArgs {
    vmRef: pulumi.Input<string>;
    backupLocationIds: pulumi.Input<Record<string, pulumi.Input<string>>>;
    host?: pulumi.Input<string>;
}

export interface VmBackupLocationAssignmentSetArgs {
    /** The virtual machines, each by a label that people read, such as its name. */
    assignments: pulumi.Input<Record<string, pulumi.Input<VmBackupLocationsArgs>>>;
    /** Whether the listed VMs have no other backup locations: others are un-assigned. */
    exclusive?: pulumi.Input<boolean>;
}

/** Assigns many virtual machines to backup locations, as one resource. */
export class VmBackupLocationAssignmentSet extends pulumi.CustomResource {
    declare readonly assignments: pulumi.Output<Record<string, VmBackupLocations>>;
    declare readonly exclusive: pulumi.Output<boolean>;
    /** Other backup locations of the VMs of an exclusive set, which the next update un-assigns. */
    declare readonly otherAssignments: pulumi.Output<Record<string, VmBackupLocations> | undefined>;
    /** When Pulumi last assigned or adopted something of it, as ISO 8601 in UTC. */
    declare readonly assignedAt: pulumi.Output<string | undefined>;

    constructor(name: string, args: VmBackupLocationAssignmentSetArgs, opts?: pulumi.CustomResourceOptions) {
        super("vmbackup:index:VmBackupLocationAssignmentSet", name, { ...args, otherAssignments: undefined, assignedAt: undefined }, opts);
    }

    /** What some VMs are assigned to, which the program reads but does not manage. The id: their refs, with commas. */
    static get(name: string, id: pulumi.Input<pulumi.ID>, opts?: pulumi.CustomResourceOptions) {
        const args = { assignments: undefined, exclusive: undefined } as unknown as VmBackupLocationAssignmentSetArgs;
        return new VmBackupLocationAssignmentSet(name, args, { ...opts, id });
    }
}

/** A virtual machine that VM Backup sees. Times are the server's own; units are not documented. */
export interface VirtualMachine {
    /** The AltaroVirtualMachineRef; not set when VM Backup has none for it. */
    ref?: string;
    name?: string;
    host?: string;
    /** Whether it is configured in VM Backup, so that it can be assigned. */
    configured?: boolean;
    hypervisorUuid?: string;
    nextBackupTime?: string;
    nextOffsiteCopyTime?: string;
    lastBackupTime?: string;
    lastBackupResult?: string;
    lastBackupDuration?: number;
    lastBackupTransferSizeCompressed?: number;
    lastBackupTransferSizeUncompressed?: number;
    lastOffsiteCopyTime?: string;
    lastOffsiteCopyResult?: string;
    lastOffsiteCopyDuration?: number;
    lastOffsiteCopyTransferSizeCompressed?: number;
    lastOffsiteCopyTransferSizeUncompressed?: number;
}

/** A place that VM Backup writes backups to. */
export interface BackupLocation {
    /** The BackupLocationId. */
    id: string;
    path?: string;
    /** `primary` or `offsite`. */
    kind?: string;
}

export interface GetVirtualMachineArgs {
    /** The VM's name, in any case. */
    name?: pulumi.Input<string>;
    /** The name of its host, where several VMs have the name. */
    host?: pulumi.Input<string>;
    /** Its AltaroVirtualMachineRef, instead of or besides the name. */
    ref?: pulumi.Input<string>;
}

export interface GetVirtualMachineResult extends VirtualMachine {
    ref: string;
}

/** Finds the one virtual machine of a name, which must be configured in VM Backup. */
export function getVirtualMachineOutput(
    args: GetVirtualMachineArgs,
    opts?: pulumi.InvokeOutputOptions,
): pulumi.Output<GetVirtualMachineResult> {
    return lookUp("vmbackup:index:getVirtualMachine", { ...args }, opts);
}

export interface GetVirtualMachinesArgs {
    /** True for those that can be assigned, false for the others; all when left out. */
    configured?: pulumi.Input<boolean>;
}

export interface GetVirtualMachinesResult {
    virtualMachines: VirtualMachine[];
}

/** Lists the virtual machines that the server sees. */
export function getVirtualMachinesOutput(
    args: GetVirtualMachinesArgs = {},
    opts?: pulumi.InvokeOutputOptions,
): pulumi.Output<GetVirtualMachinesResult> {
    return lookUp("vmbackup:index:getVirtualMachines", { ...args }, opts);
}

export interface GetBackupLocationArgs {
    /** The LocationPath as VM Backup shows it, in any case. */
    path?: pulumi.Input<string>;
    /** Its BackupLocationId, instead of or besides the path. */
    id?: pulumi.Input<string>;
    /** `primary` or `offsite`, where that makes it the only one. */
    kind?: pulumi.Input<string>;
}

export interface GetBackupLocationResult extends BackupLocation {
    id: string;
}

/** Finds the one backup location of a path. */
export function getBackupLocationOutput(
    args: GetBackupLocationArgs,
    opts?: pulumi.InvokeOutputOptions,
): pulumi.Output<GetBackupLocationResult> {
    return lookUp("vmbackup:index:getBackupLocation", { ...args }, opts);
}

export interface GetBackupLocationsArgs {
    /** Whether to include primary locations. True when left out. */
    primary?: pulumi.Input<boolean>;
    /** Whether to include offsite locations. True when left out. */
    offsite?: pulumi.Input<boolean>;
    /** The VM whose locations to list, as its ref. */
    vmRef?: pulumi.Input<string>;
}

export interface GetBackupLocationsResult {
    backupLocations: BackupLocation[];
}

/** Lists the backup locations of the server, or those that one virtual machine is assigned to. */
export function getBackupLocationsOutput(
    args: GetBackupLocationsArgs = {},
    opts?: pulumi.InvokeOutputOptions,
): pulumi.Output<GetBackupLocationsResult> {
    return lookUp("vmbackup:index:getBackupLocations", { ...args }, opts);
}

function lookUp<T>(token: string, args: pulumi.Inputs, opts?: pulumi.InvokeOutputOptions): pulumi.Output<T> {
    return pulumi.output(undefined).apply(async (): Promise<T> => {
        const found: any = pulumi.runtime.invokeOutput<T>(token, args, opts);
        try {
            await Promise.all([found.promise(), found.isKnown, found.isSecret]);
            return found;
        } catch (error) {
            // Pulumi prints a RunError as its sentence, and others with a stack trace.
            const message = error instanceof Error ? error.message : String(error);
            const shown = new pulumi.RunError(message.replace(/^invocation of \S+ returned an error: /, ""));
            // Pulumi has Node.js color it all the same, which takes up to a minute for this one.
            shown.stack = undefined;
            throw shown;
        }
    });
}
