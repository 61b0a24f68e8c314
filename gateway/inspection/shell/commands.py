"""Names that a shell looks up when they stand where a command stands.

`UNMISTAKABLE` names are no words of a language that people write to a portal; `HOMONYMS` are. A name in neither list
is not taken for a command: a text that merely has the shape of one says nothing.
"""

from __future__ import annotations

from typing import Final


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


INTERPRETERS: Final = _listed("""sh bash dash zsh ksh ksh93 csh tcsh fish ash rbash busybox toybox python python2 python3 perl perl5 ruby irb php
    php5 php7 php8 node nodejs deno bun lua luajit tclsh wish expect osascript pwsh powershell cmd wscript cscript mshta
    rundll32 regsvr32 java jshell awk gawk mawk nawk sed gdb jrunscript groovy guile scheme R Rscript octave""")
"""Programs that run what an argument says."""

DOWNLOADERS: Final = _listed("""curl wget wget2 fetch aria2c lynx links elinks w3m http https lwp-download lwp-request axel ftp tftp sftp scp rsync
    ncftpget bitsadmin certutil iwr irm invoke-webrequest invoke-restmethod start-bitstransfer curl.exe nc ncat netcat socat
    telnet ssh openssl nslookup dig host ping ping6 traceroute getent""")
"""Programs that take or leave data at the host an argument names."""

UNMISTAKABLE: Final = _listed(
    """7z 7za 7zr aa-disable aa-exec addgroup adduser ansible-config ansible-doc ansible-galaxy ansible-inventory
    ansible-playbook ansible-pull ansible-vault apache2 apk apt apt-get aptitude aria2c arj base32 base58
    base64 basenc bash batcat bcdboot bcdedit bdftopcf bitsadmin blkid bsdtar bunzip2 burpcollaborator busctl
    busybox bzcat bzgrep bzip2 bzless c89 c99 cacls cat3 certutil certutil.exe cewl chattr chef-client
    chef-run chef-vault chgrp chmod chown chpasswd chroot chsh chvt cmd.exe cmdkey cmp cmstp cowsay cpanm cpio
    cpulimit crontab cscli cscript csh csrutil cupsfilter curl debugfs del deluser dhclient dirname diskshadow
    dmesg dmidecode dmsetup dnf dnscmd doas docker dpkg dscl dsquery dstat dvips easy_install egrep elinks
    esentutl ethtool extrac32 fgrep findmnt findstr forfiles fping fsutil ftp ftpd fusermount g++ gawk gcc gdb
    getent getfacl getopt ginsh gpasswd grep gtester gunzip gzexe gzip hexdump hh.exe hostid hostnamectl
    hping3 htop icacls iconv iex ifconfig iftop infdefaultinstall insmod installutil ionice iostat iotop
    ip6tables ipconfig ipconfig.exe ipcs iptables irb irm ispell iwmi iwr jjs jobs journalctl jq jrunscript
    ksh ksh93 kubectl lastlog lastlogin latex ldapsearch ldconfig ldd logname logsave losetup lsattr
    lsb-release lsb_release lsblk lscpu lshw lsmod lsof lspci lsusb ltrace luajit lwp-download lwp-request
    lynx lz4 lzcat lzma mawk md5sum mkdir mkfifo mkfs mknod mktemp modprobe mongodump mosquitto msbuild
    msconfig msfvenom mshta mshta.exe msiexec mtr mysql mysqladmin mysqldump nasm nawk nbtstat nc nc.openbsd
    nc.traditional ncat ncdu ncftp net.exe net1 netcat netdom netsh netstat nft nltest nmap nmcli nodejs nohup
    npm npx nroff nsenter nslookup nslookup.exe ntpdate objdump odbcconf openssl openvpn osascript pacman
    passwd pathping pcalua pdb peekfd perl5 perldoc pg_dump pgrep php5 php7 php8 pidof pidstat ping.exe ping6
    pip2 pip3 pkexec pkg pkgmgr pkill pmap podman poweroff powershell powershell.exe printenv printf psed
    psftp psql pstree ptx pwd pwdump pwsh python2 python2.7 python3 qemu-img quser qwinsta rasdial rcp regasm
    regedit regsvcs regsvr32 regsvr32.exe rlogin rlwrap rmdir rmt robocopy rpm rpm2cpio rpmquery rsync runas
    rundll32 rundll32.exe rvim schtask schtasks scp scrot scutil sdiff setarch setfacl setsid sftp sh sha1sum
    sha256sum shasum shuf slsh smbclient snmpwalk socat sqlite3 ssh ssh-keygen ssh-keyscan start-stop-daemon
    stdbuf strace sudo svn symfony sysctl systemctl systeminfo tac takeown taskkill tasklist taskset tclsh
    tcpdump tcsh telnet tftp tmux traceroute tracert troff tscon tshark uname unexpand uniq unlink unlzma
    unrar unshare unxz unzip update-alternatives uptime useradd userdel usermod uudecode uuencode vigr vim
    vimdiff vipw virsh visudo vmstat volatility vssadmin wevtutil wget whatis whereis whoami whoami.exe wmic
    wscript wusa xargs xcopy xelatex xmodmap xmore xxd xz xzcat zcat zgrep zipgrep zless zsh zsoelim zypper"""
)

HOMONYMS: Final = _listed(
    """ab alias ansible arch arp ascii85 aspell at attrib awk aws axel batch bc bg break bridge bundle cal call
    cancel capsh cat cd chef choice clear cls cmd cobc column comm command compose composer copy cp cpan crash
    cron csplit csvtool cut dash date dc dd declare df dialog diff dig dir disown dnsdomainname dos2unix
    dosbox du dump dvi echo ed edit edquota emacs enscript env eqn erase eval ex exec exit expand expand.exe
    expect export expr facter factor false fc fetch fg fi file find finger fish fmt fold for free function
    gate gem ghc gimp git go group groups halt hash head help hg history host hostname http https id if
    install ip java jed join julia kill killall knife last ld less let links list ln load local locate logger
    login logout look lp ls lsb lua mail make man md mesg message mode more most mount move msg mutt mv nano
    net new nice nl nm node octave od open parallel paste patch pax pdf perf perl pg php pic pick pico ping
    pip popd ports pr print pry ps pushd python quota r rake raku read readelf readonly reboot red reg rename
    reset restic restore rev ri rm route ruby run rview s3 sash save sc screen script search sed select
    sendmail service set setenv shift shutdown sleep sort source split ss start stat stop strings su sum swift
    sync tail tar task tasks tbl tee test tex time timeout title top touch tput tr trace trap tree true tsc
    type ul ulimit umask unset update users ver vi view vol w wait wall watch wc where where.exe which while
    who write x11 xdg-open xmllint yarn yes yum zip"""
)
"""Words that are commands too: they need an argument that only a command has, or a clean break-out."""

TERSE: Final = _listed(
    "ls rm mv cp wc du df ps cd tr nl od id awk sed git php perl python node pip dd yum env zip tee java lua"
)
"""Homonyms so short that with an argument of a command nobody means the word."""

WRAPPERS: Final = _listed("""sudo doas time nohup nice ionice env exec command builtin eval xargs stdbuf setsid timeout watch busybox toybox chroot
    setarch taskset cpulimit unshare strace ltrace script parallel call start source if then else do while until ! trap coproc catchsegv
    flock chrt numactl faketime""")
"""Commands that run the command in their arguments, and words of the grammar that a command follows."""

DEVELOPER_TOOLS: Final = _listed("""npm npx yarn pnpm git docker docker-compose kubectl helm pip pip3 apt apt-get brew make cmake mvn gradle cargo go composer
    terraform ansible systemctl journalctl ssh scp curl wget python python3 node java rails bundle dotnet az aws gcloud cd ls cat
    grep sudo echo ping mkdir cp mv rm tar unzip chmod chown sed awk find ps top tail head export source openssl""")
"""What people show each other in tickets; a pipeline that follows one of these in a sentence is quoted, not injected."""

SHELLS: Final = _listed(
    "sh bash dash zsh ksh ash csh tcsh fish powershell pwsh cmd cmd.exe powershell.exe python python3 perl ruby php node"
)
"""What a pipeline ends in that runs what it brings; behind a `;` it would only wait."""
ALONE: Final = _listed(
    """ls env ps dir df pwd w who set su reboot shutdown halt poweroff vol htop aptitude lsblk lscpu lsusb lspci lsmod dmesg vmstat iostat
    pstree dpkg crontab chkconfig arp lastlog visudo regedit gpresult qprocess"""
)
"""Common or telling names of commands that do something without an argument."""
ALONE_AND_COLUMN: Final = _listed("id date hostname")
"""Those of them that are also the names of columns."""
RECONNAISSANCE: Final = _listed(
    "whoami ifconfig ipconfig uname netstat systeminfo tasklist printenv lsof lsb_release uptime hostnamectl getent nslookup quser qwinsta"
)
"""What somebody runs first who does not know where he is, and nobody lists among his skills."""
SUBCOMMANDS: Final = {
    "ip": _listed("a addr address r route link neigh -br"),
    "ps": _listed("aux ax axu auxw auxww faux ef elf"),
    "tar": _listed("xf xvf xzf xzvf cf cvf czf czvf tf tvf xjf cjf"),
    "net": _listed("user localgroup use view share start stop group accounts session"),
    "reg": _listed("query add delete save export import"),
    "sc": _listed("query create start stop config delete qc"),
    "service": _listed("apache2 nginx mysql ssh sshd cron iptables firewalld postgresql docker"),
}
"""Of programs with common names: words after which nobody means the word."""

LIVING_OFF_THE_LAND: Final = _listed(
    "mshta rundll32 regsvr32 certutil bitsadmin wmic schtasks bcdedit bcdboot vssadmin cmstp msbuild installutil odbcconf forfiles"
)
"""Programs of Windows that fetch or run what they are given, however they are called."""
CMDLETS: Final = _listed("""invoke-expression invoke-webrequest invoke-restmethod invoke-command invoke-item invoke-wmimethod invoke-mimikatz invoke-shellcode
    start-process start-bitstransfer start-job new-object new-service new-item get-content get-childitem get-process get-wmiobject
    get-ciminstance get-item get-itemproperty get-credential get-acl get-aduser set-content set-item set-itemproperty set-executionpolicy set-mppreference
    add-type add-content add-mppreference out-file remove-item copy-item rename-item stop-process stop-service restart-computer stop-computer
    write-output write-host test-connection test-netconnection resolve-dnsname convertto-securestring import-module
    export-csv enter-pssession register-scheduledtask enable-psremoting select-string foreach-object where-object""")
"""PowerShell's verbs with nouns: no other language has them."""

FILTERS: Final = frozenset({"select-string", "where-object"})
"""Those of them that only leave out of what they are given."""

EXECUTABLE_FOLDERS: Final = (
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/opt/bin/",
    "bin/",
    "usr/bin/",
    "./",
)

KNOWN: Final = UNMISTAKABLE | HOMONYMS | INTERPRETERS | DOWNLOADERS | CMDLETS | WRAPPERS
