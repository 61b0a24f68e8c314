"""Read a text as a shell would: POSIX `sh` with what bash adds, `cmd.exe` and PowerShell."""
