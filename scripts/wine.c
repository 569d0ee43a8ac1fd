/* What Go programs need on Windows, and Wine 8 lacks: for the tests, as bcryptprimitives.dll. */
#include <windows.h>
#include <ntsecapi.h>

BOOL WINAPI ProcessPrng(BYTE *data, SIZE_T size)
{
    return RtlGenRandom(data, (ULONG)size);
}
