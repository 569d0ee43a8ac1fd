/* What Windows has and Wine 8 lacks, for the tests: they use it as bcryptprimitives.dll, which Go's
 * programs load when they start. Python is told to load it by wine.py. */

#include <windows.h>
#include <ntsecapi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>
#include <winternl.h>

/* The random numbers that Go and Rust need. */
BOOL WINAPI ProcessPrng(BYTE *data, SIZE_T size)
{
    return RtlGenRandom(data, (ULONG)size);
}

/* Ctrl-Break: Wine sends no other event than Ctrl-C, and keeps no groups of processes. A group's first
 * process holds an event with its id in the name, which is there as long as the process. */

static HANDLE group_of(DWORD pid, BOOL make)
{
    char name[32];
    snprintf(name, sizeof(name), "process-group-%lu", pid);
    return make ? CreateEventA(NULL, TRUE, FALSE, name) : OpenEventA(SYNCHRONIZE, FALSE, name);
}

static BOOL WINAPI create_process(
    const WCHAR *program, WCHAR *command, SECURITY_ATTRIBUTES *process, SECURITY_ATTRIBUTES *thread,
    BOOL inherit, DWORD flags, void *environment, const WCHAR *folder, STARTUPINFOW *startup,
    PROCESS_INFORMATION *started)
{
    BOOL(WINAPI *create)() = (void *)GetProcAddress(
        GetModuleHandleA("kernelbase"), "CreateProcessInternalW");
    if (!create(NULL, program, command, process, thread, inherit, flags, environment, folder, startup,
                started, NULL))
        return FALSE;
    if (flags & CREATE_NEW_PROCESS_GROUP)
        DuplicateHandle(GetCurrentProcess(), group_of(started->dwProcessId, TRUE), started->hProcess,
                        NULL, 0, FALSE, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE);
    return TRUE;
}

/* Wine soon gives the id of a process that has ended to another one. */
static BOOL began_before(HANDLE process, const FILETIME *when)
{
    FILETIME begun, ended, kernel, user;
    return GetProcessTimes(process, &begun, &ended, &kernel, &user)
           && CompareFileTime(&begun, when) < 0;
}

static void send_event(DWORD pid, DWORD event, const FILETIME *listed_at)
{
    HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid);
    PROCESS_BASIC_INFORMATION info;
    BYTE *parameters;
    DWORD all_events = 0;
    if (!process)
        return;
    if (!began_before(process, listed_at)) {
        CloseHandle(process);
        return;
    }
    /* A group ignores Ctrl-C, and under Wine Ctrl-Break as well, by the flags of its console. */
    if (event == CTRL_BREAK_EVENT
        && !NtQueryInformationProcess(process, ProcessBasicInformation, &info, sizeof(info), NULL)
        && ReadProcessMemory(process, &info.PebBaseAddress->ProcessParameters, &parameters,
                             sizeof(parameters), NULL))
        WriteProcessMemory(process, parameters + 0x18, &all_events, sizeof(all_events), NULL);
    CloseHandle(CreateRemoteThread(
        process, NULL, 0, (void *)GetProcAddress(GetModuleHandleA("kernelbase"), "CtrlRoutine"),
        (void *)(DWORD_PTR)event, 0, NULL));
    CloseHandle(process);
}

static BOOL WINAPI generate_console_ctrl_event(DWORD event, DWORD group)
{
    enum { MOST = 4096 };
    PROCESSENTRY32 *processes = malloc(MOST * sizeof(*processes));
    HANDLE snapshot;
    FILETIME listed_at;
    size_t count = 0;
    GetSystemTimeAsFileTime(&listed_at);
    snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    processes[0].dwSize = sizeof(processes[0]);
    for (BOOL more = Process32First(snapshot, processes); more && count < MOST - 1;
         more = Process32Next(snapshot, &processes[count])) {
        processes[++count].dwSize = sizeof(processes[0]);
    }
    CloseHandle(snapshot);
    for (size_t each = 0; each < count; each++) {
        /* The group is that of the next process above which begins one. */
        DWORD pid = processes[each].th32ProcessID;
        for (int steps = 0; steps < 16; steps++) {
            HANDLE begins_group = group_of(pid, FALSE);
            size_t at = 0;
            if (begins_group) {
                CloseHandle(begins_group);
                if (pid == group)
                    send_event(processes[each].th32ProcessID, event, &listed_at);
                break;
            }
            while (at < count && processes[at].th32ProcessID != pid)
                at++;
            if (at == count)
                break;
            pid = processes[at].th32ParentProcessID;
        }
    }
    free(processes);
    return TRUE;
}

/* Wine's C library, which is Python's, knows no SIGBREAK. */
static BOOL WINAPI raise_sigbreak(DWORD event)
{
    typedef void (*Handler)(int);
    HMODULE library = GetModuleHandleA("ucrtbase");
    Handler (*set_handler)(int, Handler) = (void *)GetProcAddress(library, "signal");
    Handler handler;
    if (event != CTRL_BREAK_EVENT || !library)
        return FALSE;
    handler = set_handler(SIGBREAK, SIG_DFL);
    if (handler == SIG_IGN)
        set_handler(SIGBREAK, handler);
    else if (handler != SIG_DFL)
        handler(SIGBREAK); /* sets itself again */
    return handler != SIG_DFL;
}

static void replace(const char *name, void *by)
{
    BYTE jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* mov rax, by; jmp rax */
    BYTE *function = (BYTE *)GetProcAddress(GetModuleHandleA("kernelbase"), name);
    DWORD before;
    memcpy(jump + 2, &by, sizeof(by));
    VirtualProtect(function, sizeof(jump), PAGE_EXECUTE_READWRITE, &before);
    memcpy(function, jump, sizeof(jump));
    VirtualProtect(function, sizeof(jump), before, &before);
}

BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved)
{
    (void)library, (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) {
        SetConsoleCtrlHandler(raise_sigbreak, TRUE);
        replace("CreateProcessW", create_process);
        replace("GenerateConsoleCtrlEvent", generate_console_ctrl_event);
    }
    return TRUE;
}
