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

UNMISTAKABLE: Final = _listed("""7z 7za 7zr aa-exec ab addgroup adduser ansible ansible-playbook ansible-doc ansible-vault ansible-galaxy ansible-config
    ansible-pull ansible-inventory apache2 apk apt apt-get aptitude arch arp aria2c arj ascii85 aspell aws awk gawk mawk nawk
    base32 base64 base58 basenc bash batcat bcdboot bcdedit bdftopcf bitsadmin blkid bridge bsdtar bunzip2 busctl busybox bzcat
    bzip2 bzgrep bzless c89 c99 certutil cewl chattr chgrp chmod chown chpasswd chroot chsh chvt cmp cobc cowsay cpan cpio
    cpulimit crontab csh csplit cscript cscli csvtool cupsfilter curl cut dash dd debugfs del deluser dhclient dig dirname
    dmesg dmidecode dmsetup dnf docker dosbox doas dpkg dstat dvips easy_install ed edquota egrep elinks emacs enscript eqn erase
    ethtool fgrep findmnt findstr fmt forfiles fping ftp ftpd fusermount g++ gcc gdb getent getfacl getopt gimp ginsh git gpasswd
    grep gunzip gzexe gzip hexdump hostid hostnamectl hping3 htop iconv ifconfig iftop insmod iostat iotop ionice ipconfig ipcs
    ip6tables iptables irb ispell iwr iex irm iwmi jjs jobs journalctl jrunscript jq ksh ksh93 kubectl lastlog lastlogin latex
    ldapsearch ldconfig ldd logname logsave losetup lsattr lsb_release lsblk lscpu lshw lsmod lsof lspci lsusb ltrace lua
    luajit lwp-download lwp-request lynx lz4 lzcat lzma mkdir mkfifo mknod mktemp modprobe mongodump mosquitto msfvenom mshta
    mkfs mtr mv mysql mysqladmin mysqldump nasm nc nc.openbsd nc.traditional ncat ncdu ncftp net1 netcat netdom netsh netstat nice nmap nmcli node nodejs nohup npm
    npx nroff nsenter nslookup ntpdate objdump octave odbcconf openssl openvpn osascript pacman passwd paste pcalua pdb peekfd perl perl5
    perldoc pg_dump pgrep php php5 php7 php8 pidof pidstat ping6 pip pip2 pip3 pkexec pkg pkgmgr pkill pmap podman poweroff powershell
    pr printenv printf ps psed psftp psql pstree ptx pwd pwsh pwdump python python2 python3 python2.7 qemu-img rake rcp reg
    regedit regsvr32 rename restic rev rlogin rlwrap rm rmdir rmt robocopy rpm rpm2cpio rpmquery rsync runas rundll32 rvim
    sc schtasks schtask scp screen scrot scutil sdiff sed service setarch setfacl setsid sftp sh sha1sum sha256sum md5sum shasum
    shuf shutdown slsh smbclient snmpwalk socat sqlite3 ss ssh ssh-keygen ssh-keyscan start-stop-daemon stdbuf strace strings su sudo
    svn symfony sysctl systemctl systeminfo tac taskkill tasklist taskset tbl tclsh tcpdump tcsh tee telnet tftp tmux
    traceroute tracert troff tshark tclsh uname unexpand uniq unlink unlzma unrar unshare unxz unzip update-alternatives uptime
    useradd userdel usermod uudecode uuencode vigr vim vimdiff vipw virsh visudo vmstat volatility vssadmin wget whatis whereis whoami wmic wscript
    xargs xcopy xelatex xmodmap xmore xxd xz xzcat yarn yum zcat zgrep zip zipgrep zless zsh zsoelim zypper dscl csrutil
    cmd.exe powershell.exe certutil.exe mshta.exe rundll32.exe regsvr32.exe whoami.exe ipconfig.exe net.exe nslookup.exe ping.exe
    chef-client chef-run chef-vault knife aa-disable gem cpanm julia lsb-release nft burpcollaborator cat3 gtester wevtutil
    diskshadow dnscmd esentutl expand.exe extrac32 fsutil icacls cacls takeown tscon wusa rasdial qwinsta quser nltest dsquery
    cmdkey cmstp installutil msbuild msiexec msconfig nbtstat pathping regasm regsvcs hh.exe infdefaultinstall where.exe""")

HOMONYMS: Final = _listed("""alias at attrib batch bc bg break bundle cal call cancel capsh cat cd chef choice clear cls cmd column comm command compose composer
    copy cp crash cron cscli date dc declare df dialog diff dir disown dnsdomainname dos2unix du dump dvi echo edit emacs env eval ex exec exit
    expand expect export expr facter factor false fc fg fetch file find finger fish fi fold for free function gate gawk gem ghc go
    group groups halt hash head help hg history host hostname http https id if install ip join java jed kill killall last ld less let links list ln load local locate
    login logger logout look lp ls lsb mail make man md mesg message mknod mode more most mount move msg mutt nano nawk net new
    nl nm nmap od open parallel pax pdf perf pg pic pick pico ping popd ports print pry pushd quota r raku read readelf readonly
    reboot red reset restore ri route ruby run rview s3 sash save script search select sendmail service set setenv shift sleep sort source split start
    stat stop sum swift sync systeminfo tail tar task tasks test tex time timeout title top touch tr trap tree trace true tsc tput type ul ulimit umask unset update
    users ver vi view vol w wait wall watch wc where which while who write x11 xdg-open xmllint yes zcat""")
"""Words that are commands too: they need an argument that only a command has, or a clean break-out."""

COLUMN_NAMES: Final = _listed("""date time type host file users user groups group sort last list id name names link links mode order title message mail
    read write edit save load open print search select status stat start stop set test top view tree trace reset run route service split sum sync
    tail task tasks true false update wait x y ip help head hash history find function for if go free exit diff date dump copy column
    command comm clear choice cancel call batch break bundle alias login logout local move new net
    parallel ports pick""")
"""Homonyms that people also write as the names of columns and settings, between `;` and `|`."""

WRAPPERS: Final = _listed("""sudo doas time nohup nice ionice env exec command builtin eval xargs stdbuf setsid timeout watch busybox toybox chroot
    setarch taskset cpulimit unshare strace ltrace script parallel call start source if then else do while until ! trap coproc catchsegv
    flock chrt numactl faketime""")
"""Commands that run the command in their arguments, and words of the grammar that a command follows."""

DEVELOPER_TOOLS: Final = _listed("""npm npx yarn pnpm git docker docker-compose kubectl helm pip pip3 apt apt-get brew make cmake mvn gradle cargo go composer
    terraform ansible systemctl journalctl ssh scp curl wget python python3 node java rails bundle dotnet az aws gcloud cd ls cat
    grep sudo echo ping mkdir cp mv rm tar unzip chmod chown sed awk find ps top tail head export source""")
"""What people show each other in tickets; a pipeline that follows one of these in a sentence is quoted, not injected."""

CMDLETS: Final = _listed("""invoke-expression invoke-webrequest invoke-restmethod invoke-command invoke-item invoke-wmimethod invoke-mimikatz invoke-shellcode
    start-process start-bitstransfer start-job new-object new-service new-item get-content get-childitem get-process get-wmiobject
    get-ciminstance get-item get-itemproperty get-credential get-acl get-aduser set-content set-item set-itemproperty set-executionpolicy set-mppreference
    add-type add-content add-mppreference out-file remove-item copy-item rename-item stop-process stop-service restart-computer stop-computer
    write-output write-host test-connection test-netconnection resolve-dnsname convertto-securestring import-module
    export-csv enter-pssession register-scheduledtask enable-psremoting select-string foreach-object where-object""")
"""PowerShell's verbs with nouns: no other language has them."""

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
