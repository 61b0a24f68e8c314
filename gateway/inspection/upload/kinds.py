"""The kinds of file there are: by which names, media types and contents each is known.

Facts of the formats, and no judgement. A kind that is made of text is told by its name alone; one that is
binary by its content.
"""

from __future__ import annotations

from typing import Final, NamedTuple

GENERIC: Final = frozenset(
    (
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-download",
        "application/download",
        "application/force-download",
        "application/unknown",
        "unknown/unknown",
    )
)
"""What programs declare that do not know the type."""


class Kind(NamedTuple):
    """One kind. `media` are the types that programs declare for it, the registered one first."""

    name: str
    extensions: tuple[str, ...]
    media: tuple[str, ...]
    is_text: bool = False
    content: str = ""
    """What `content.kind_of` calls it where that is less than the kind: `zip`, `ole`, `bmff`; empty = the kind's name."""


_OOXML: Final = "application/vnd.openxmlformats-officedocument."
_ODF: Final = "application/vnd.oasis.opendocument."
_ZIP_TYPES: Final = ("application/zip", "application/x-zip-compressed", "application/x-zip")
_TEXTS: Final = ("text/plain",)

_ALL: Final = (
    Kind("pdf", ("pdf",), ("application/pdf", "application/x-pdf", "application/acrobat", "text/pdf")),
    Kind("png", ("png",), ("image/png", "image/x-png")),
    Kind("jpeg", ("jpg", "jpeg", "jpe", "jfif"), ("image/jpeg", "image/jpg", "image/pjpeg")),
    Kind("gif", ("gif",), ("image/gif",)),
    Kind("webp", ("webp",), ("image/webp",)),
    Kind("bmp", ("bmp", "dib"), ("image/bmp", "image/x-bmp", "image/x-ms-bmp")),
    Kind("tiff", ("tif", "tiff"), ("image/tiff", "image/tif", "image/x-tiff")),
    Kind("ico", ("ico",), ("image/x-icon", "image/vnd.microsoft.icon")),
    Kind("heic", ("heic", "heif", "hif"), ("image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence")),
    Kind("avif", ("avif",), ("image/avif",)),
    Kind("svg", ("svg",), ("image/svg+xml", "image/svg", "text/xml", "application/xml"), is_text=True),
    Kind("docx", ("docx",), (f"{_OOXML}wordprocessingml.document", "application/msword", *_ZIP_TYPES)),
    Kind("xlsx", ("xlsx",), (f"{_OOXML}spreadsheetml.sheet", "application/vnd.ms-excel", *_ZIP_TYPES)),
    Kind(
        "pptx",
        ("pptx", "ppsx"),
        (
            f"{_OOXML}presentationml.presentation",
            f"{_OOXML}presentationml.slideshow",
            "application/vnd.ms-powerpoint",
            *_ZIP_TYPES,
        ),
    ),
    Kind("docm", ("docm", "dotm", "dotx"), ("application/vnd.ms-word.document.macroenabled.12", "application/vnd.ms-word.template.macroenabled.12", f"{_OOXML}wordprocessingml.template")),
    Kind("xlsm", ("xlsm", "xltm", "xltx", "xlam"), ("application/vnd.ms-excel.sheet.macroenabled.12", "application/vnd.ms-excel.template.macroenabled.12", "application/vnd.ms-excel.addin.macroenabled.12", f"{_OOXML}spreadsheetml.template")),
    Kind("xlsb", ("xlsb",), ("application/vnd.ms-excel.sheet.binary.macroenabled.12",)),
    Kind("pptm", ("pptm", "ppsm", "potm", "potx"), ("application/vnd.ms-powerpoint.presentation.macroenabled.12", "application/vnd.ms-powerpoint.slideshow.macroenabled.12", f"{_OOXML}presentationml.template")),
    Kind("odt", ("odt", "ott"), (f"{_ODF}text", f"{_ODF}text-template", *_ZIP_TYPES)),
    Kind("ods", ("ods", "ots"), (f"{_ODF}spreadsheet", f"{_ODF}spreadsheet-template", *_ZIP_TYPES)),
    Kind("odp", ("odp", "otp"), (f"{_ODF}presentation", f"{_ODF}presentation-template", *_ZIP_TYPES)),
    Kind("epub", ("epub",), ("application/epub+zip", *_ZIP_TYPES)),
    Kind("doc", ("doc", "dot"), ("application/msword", "application/vnd.ms-word"), content="ole"),
    Kind("xls", ("xls", "xlt"), ("application/vnd.ms-excel", "application/msexcel", "application/x-msexcel"), content="ole"),
    Kind("ppt", ("ppt", "pps", "pot"), ("application/vnd.ms-powerpoint", "application/mspowerpoint"), content="ole"),
    Kind("msg", ("msg",), ("application/vnd.ms-outlook", "application/x-msg"), content="ole"),
    Kind("rtf", ("rtf",), ("application/rtf", "text/rtf", "text/richtext", "application/msword", "application/x-rtf")),
    Kind("zip", ("zip",), (*_ZIP_TYPES, "multipart/x-zip")),
    Kind("tar", ("tar",), ("application/x-tar", "application/tar")),
    Kind("gz", ("gz", "tgz"), ("application/gzip", "application/x-gzip", "application/x-compressed-tar", "application/x-gtar", "application/tar+gzip", "application/x-tgz")),
    Kind("bz2", ("bz2", "tbz2"), ("application/x-bzip2", "application/bzip2", "application/x-bzip")),
    Kind("xz", ("xz", "txz"), ("application/x-xz",)),
    Kind("7z", ("7z",), ("application/x-7z-compressed",)),
    Kind("rar", ("rar",), ("application/vnd.rar", "application/x-rar-compressed", "application/x-rar")),
    Kind("csv", ("csv", "tsv"), ("text/csv", "application/csv", "text/x-csv", "text/comma-separated-values", "text/tab-separated-values", "application/vnd.ms-excel", *_TEXTS), is_text=True),
    Kind("txt", ("txt", "text", "log"), (*_TEXTS, "text/x-log"), is_text=True),
    Kind("md", ("md", "markdown"), ("text/markdown", "text/x-markdown", *_TEXTS), is_text=True),
    Kind("json", ("json", "geojson"), ("application/json", "text/json", "application/geo+json", *_TEXTS), is_text=True),
    Kind("xml", ("xml", "gpx", "kml"), ("application/xml", "text/xml", "application/gpx+xml", "application/vnd.google-earth.kml+xml", *_TEXTS), is_text=True),
    Kind("yaml", ("yaml", "yml"), ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", *_TEXTS), is_text=True),
    Kind("html", ("html", "htm", "xhtml", "xht"), ("text/html", "application/xhtml+xml"), is_text=True),
    Kind("eml", ("eml",), ("message/rfc822", *_TEXTS), is_text=True),
    Kind("ics", ("ics",), ("text/calendar", "application/ics", *_TEXTS), is_text=True),
    Kind("vcf", ("vcf", "vcard"), ("text/vcard", "text/x-vcard", "text/directory", *_TEXTS), is_text=True),
    Kind("mp4", ("mp4", "m4v"), ("video/mp4", "video/x-m4v", "application/mp4")),
    Kind("mov", ("mov", "qt"), ("video/quicktime",)),
    Kind("m4a", ("m4a",), ("audio/mp4", "audio/x-m4a", "audio/m4a")),
    Kind("3gp", ("3gp", "3g2"), ("video/3gpp", "audio/3gpp", "video/3gpp2")),
    Kind("webm", ("webm", "mkv"), ("video/webm", "audio/webm", "video/x-matroska")),
    Kind("avi", ("avi",), ("video/x-msvideo", "video/avi", "video/msvideo")),
    Kind("wav", ("wav",), ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")),
    Kind("mp3", ("mp3",), ("audio/mpeg", "audio/mp3", "audio/x-mpeg", "audio/x-mp3")),
    Kind("ogg", ("ogg", "oga", "ogv", "opus"), ("audio/ogg", "video/ogg", "application/ogg", "audio/opus")),
    Kind("flac", ("flac",), ("audio/flac", "audio/x-flac")),
)  # fmt: skip

KINDS: Final = {kind.name: kind for kind in _ALL}
BY_EXTENSION: Final = {extension: kind for kind in _ALL for extension in kind.extensions}
SPELLINGS: Final = {
    **{name: name for name in KINDS},
    **{extension: kind.name for extension, kind in BY_EXTENSION.items()},
}
"""What an operator may write in `types`, and the kind it means: `jpg` is `jpeg`."""
ARCHIVES: Final = frozenset(("zip", "tar", "gz", "bz2", "xz", "7z", "rar"))
OFFICE_ZIP: Final = frozenset(("docx", "xlsx", "pptx", "docm", "xlsm", "xlsb", "pptm"))
OPEN_DOCUMENT: Final = frozenset(("odt", "ods", "odp"))
WITH_MACROS: Final = frozenset(("docm", "xlsm", "xlsb", "pptm"))
"""Kinds whose name says that they may hold macros."""

RUN_BY_SERVERS: Final = frozenset(
    (
        "php", "php3", "php4", "php5", "php6", "php7", "php8", "phps", "pht", "phtm", "phtml", "phar", "pgif", "inc",
        "asp", "aspx", "asa", "asax", "ascx", "ashx", "asmx", "axd", "cer", "cdx", "cshtml", "vbhtml", "soap", "rem",
        "jsp", "jspx", "jspf", "jsw", "jsv", "jtml", "do", "action", "war", "cfm", "cfml", "cfc", "dbm",
        "cgi", "fcgi", "pl", "pm", "py", "pyc", "rb", "rhtml", "lua", "shtml", "shtm", "stm", "ssi", "swf",
        "htaccess", "htpasswd", "config", "ini", "conf",
    )
)  # fmt: skip
"""Extensions that a web server, set up carelessly, runs or obeys."""
RUN_BY_DESKTOPS: Final = frozenset(
    (
        "exe", "com", "scr", "pif", "bat", "cmd", "msi", "msp", "mst", "dll", "sys", "drv", "ocx", "cpl", "msc",
        "vb", "vbs", "vbe", "js", "jse", "mjs", "ws", "wsf", "wsh", "wsc", "hta", "chm", "hlp", "inf", "reg", "scf", "lnk", "url",
        "ps1", "ps1xml", "ps2", "psc1", "psd1", "psm1", "cdxml", "gadget", "application", "appref-ms", "appx", "msix", "diagcab",
        "sh", "bash", "zsh", "csh", "ksh", "fish", "command", "tool", "app", "pkg", "mpkg", "dmg", "workflow", "action", "terminal",
        "jar", "jnlp", "class", "apk", "ipa", "xpi", "crx", "deb", "rpm", "run", "bin", "elf", "so", "dylib", "desktop", "appimage",
        "iso", "img", "vhd", "vhdx", "wim", "cab", "library-ms", "search-ms", "settingcontent-ms", "theme", "themepack",
        "iqy", "slk", "xll", "wll", "ade", "adp", "mdb", "mde", "accdb", "accde", "one", "onepkg", "website", "webloc", "xbap", "xsl", "xslt",
    )
)  # fmt: skip
"""Extensions that a desktop opens by running what is in them."""
RUN_ANYWHERE_IN_A_NAME: Final = frozenset(
    (
        "php", "php3", "php4", "php5", "php7", "php8", "phps", "pht", "phtml", "phar",
        "asp", "aspx", "asa", "ashx", "asmx", "ascx", "cshtml", "jsp", "jspx", "jspf", "cfm", "cfml", "cgi", "fcgi", "shtml",
        "exe", "scr", "pif", "bat", "cmd", "vbs", "vbe", "hta", "lnk", "msi", "wsf", "ps1", "dll",
    )
)  # fmt: skip
"""Extensions that count in the middle of a name too (`shell.php.jpg`: Apache `AddHandler`; `letter.exe .pdf`);
those that honest names have there (`umowa.pl.pdf`, `shop.com.pdf`, `notes.py.txt`) are left out."""
