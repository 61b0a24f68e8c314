"""The page that explains a case to somebody who has never heard of it: a lawyer, a court, an expert.

It says what is proven, by whom, and what is not, in sentences that are true of every case.
"""

from __future__ import annotations

from gateway.audit.case import KEY, OPENED, RECORDS, SIGNATURE, SIGNATURE_CONTEXT, SUMS, TABLE, Manifest, directory_name

_TEXT = """\
EVIDENCE FROM AN AUDIT LOG: {case}

1. WHAT THIS IS

This archive holds {records} records that were taken out of the audit log of a gateway: the program through which
all requests to a web portal pass, and which writes down who asked for what, when, and how it was answered.
Beside each record lies what proves that it is part of that log and was not changed since.

  Case:        {case}
  Made:        {made_at} (clock of the machine)
  Made by:     {made_by} (user of the operating system)
  Reason:      {reason}
  Searched:    {asked}
  Program:     gateway {gateway}
{unreadable}
Records by log:
{streams}

2. WHAT IS IN IT

  {table:<16} all records as a table, for reading; a spreadsheet opens it
  {records_file:<16} each record exactly as it is stored, one in a line (names of fields: OCSF, ocsf.io)
{opened_line}  proofs/          for each record a proof: the stored entry, the hashes that lead from it to the
                   signed state of the log, and that signed state (format: C2SP tlog-proof)
  checkpoints/     the signed states of the logs (C2SP checkpoint); further lines are signatures of witnesses
  policy/          whose signatures were asked for (C2SP tlog-policy)
  keys/, {key}
                   the public key of the log, in two forms
  {sums:<16} the SHA-256 of every file, and in {signature} a signature of that list by the log's key

In the table, "time" is when (UTC), "actor" who did it, "owner_id" whose data it was, "operation" and "path" what was
asked for, "decision" whether it was let through (allow or deny) and "reason" why. One request may have several rows:
"request_id" joins them. The proof of a row is proofs/STREAM/INDEX.tlog-proof, by its columns "stream" and "index".

3. WHAT IS PROVEN, AND BY WHOM

a) Each record was in the log when the log had the size that its checkpoint names, and is unchanged since.
   By mathematics (a Merkle tree, RFC 6962), from the signature under the checkpoint.
b) The checkpoint was signed by whoever holds the log's key: the gateway itself.
c) If the checkpoint carries signatures of witnesses, these saw that state of the log at the time they name. Then not
   even whoever holds the log's key can have changed, removed or inserted a record since without it showing.
   Without a witness, the proof is worth as much as the protection of the log's key.
d) This collection is the one that was made: none of its files was changed, added or removed since
   (the list of files is signed).

4. WHAT IS NOT PROVEN

- That the records are all there are about a matter. Others may exist that were not searched for. Whoever doubts it can ask
  for the whole log, whose completeness the same signatures prove.
- That what a record says is true in the world. It says what the gateway saw: that somebody was signed in as a person, not
  that the person sat at the keyboard.
- The time of day. Times are the clock of the gateway's machine; witnesses add their own. The ORDER of the records
  is proven and needs no clock.
- Whose key it is. Compare the key in keys/ with one that you received in another way before or apart from this archive.
{opened_note}
5. HOW TO CHECK IT, WITHOUT A NETWORK

With the gateway's program (made from its source, as docs/auditor.md there says; a package of that name is somebody else's):

    gateway audit verify THIS-ARCHIVE.tar --vkey KEYS-THAT-YOU-TRUST.txt

where the second file holds the keys of the log as its operator gave them to you in another way, one on each line
(`gateway audit trust --vkeys` prints them). The command prints one sentence. Exit code 0: proven. 1: something was
changed. 3: nothing is wrong, but you gave no key, so that only the archive itself says whose key it is. 4: witnesses
that your policy asks for did not sign.

With standard tools (GNU or BSD tar, sha256sum, and openssl 3.0 or newer):

    tar -xf THIS-ARCHIVE.tar
    cd {directory}
    sha256sum --quiet -c {sums}
    (printf '{context}'; cat {sums}) > ../signed-text
    openssl pkeyutl -verify -pubin -inkey {key} -rawin -in ../signed-text -sigfile {signature}

The third line says nothing if every file is as listed; what is not in the list does not belong to the case. The last
one says "Signature Verified Successfully" if the list was signed by the key in {key}. That this key is the one
that you trust, you see when these two lines print the same:

    openssl pkey -pubin -in {key} -outform DER | tail -c 32 | sha256sum
    head -n 1 ../KEYS-THAT-YOU-TRUST.txt | cut -d + -f 3- | base64 -d | tail -c 32 | sha256sum

Each file under proofs/ can be checked with any program that reads C2SP tlog-proof files: the line "extra" is the
stored entry (base64), its SHA-256 after a zero byte is the leaf, the hashes lead to the root in the checkpoint.
The record is the JSON text in the entry.
"""

_OPENED_LINE = "  {name:<16} the same records with values readable that are stored sealed under the key of a person\n"
_OPENED_NOTE = """\
- What stands in {opened} and {table} in place of sealed values. The proofs cover the sealed form; what is inside was
  opened by the gateway with the key of the person concerned. An expert can repeat that where the key is disclosed.
"""


def readme(manifest: Manifest) -> str:
    """Return the page of a case."""
    streams = "\n".join(
        f"  {each.records:>8} from {each.origin} (state with {each.size} entries)" for each in manifest.streams
    )
    unreadable = "".join(f"  NOT READABLE when it was made: {each}\n" for each in manifest.unreadable)
    return _TEXT.format(
        case=manifest.case,
        made_at=manifest.made_at,
        made_by=manifest.made_by,
        reason=manifest.reason or "(none was given)",
        asked=", ".join(f"{name} = {value}" for name, value in manifest.asked.items()) or "everything",
        gateway=manifest.gateway,
        records=sum(each.records for each in manifest.streams),
        unreadable=unreadable,
        streams=streams or "  none",
        table=TABLE,
        records_file=RECORDS,
        opened_line=_OPENED_LINE.format(name=OPENED) if manifest.opened else "",
        opened_note=_OPENED_NOTE.format(opened=OPENED, table=TABLE) if manifest.opened else "",
        key=KEY,
        directory=directory_name(manifest.case),
        sums=SUMS,
        signature=SIGNATURE,
        context=SIGNATURE_CONTEXT.decode().replace("\n", "\\n"),
    )
