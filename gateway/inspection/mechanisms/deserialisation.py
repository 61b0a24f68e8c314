"""Serialised objects that run code when they are read: Java, PHP, .NET, Python, Ruby, YAML, Node.

CWE-502, ASVS 5.0 1.5.2. An object counts, not data: PHP's arrays and an ASP.NET view state are what honest applications send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.needles import Needles
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "deserialisation"

SIGNS: Final[Mapping[str, str]] = {
    "object.java": "A Java object stream, raw, in base64 or in hexadecimal.",
    "object.java_gadget": "The name of a Java class that is used to run code when an object is read.",
    "object.java_runtime": "The name of the Java class that starts processes.",
    "object.java_package": "The name of a class of Java's own packages, or of a framework's.",
    "object.php": "A serialised PHP object.",
    "object.dotnet": "A .NET object stream, or a type that runs code when it is read.",
    "object.pickle": "A Python pickle that calls a function.",
    "object.ruby": "A marshalled Ruby object.",
    "object.yaml": "A YAML tag that makes an object.",
    "object.node": "A function that node-serialize, funcster or a React server would call.",
    "object.quoted": "A dangerous class or tag stands in text that speaks of it.",
}

_JAVA: Final = re.compile(
    r"(?:^|[^A-Za-z0-9+/])(?:rO0AB[QX]|KztAAU|Cs7QAF|rO0ABQ)|(?i:^\s*(?:0x|\\x)?ac\W?(?:\\x)?ed\W?(?:\\x)?00\W?(?:\\x)?05(?:73|77|7372|[0-9a-f]{8}|$))|\xac\xed\x00\x05|H4sIAAAAAAAA[A-Za-z0-9+/]{0,12}(?:rO0|W7|Wz0)"
)
_GADGET: Final = re.compile(
    r"(?i)(?<![\w/])(?:(?:java\.lang\.)?(?:runtime|processbuilder)\.\w{0,32}\.?(?:clonetransformer|forclosure|instantiatefactory|instantiatetransformer|invokertransformer|prototypeclonefactory|prototypeserializationfactory|whileclosure|getproperty|filewriter|xmldecoder)|(?:runtime|processbuilder)\.(?:clonetransformer|forclosure|whileclosure|invokertransformer)"
    r"|com\.sun\.(?:rowset\.jdbcrowsetimpl|org\.apache\.(?:xalan|bcel)\.\S{1,96}|jndi\.\w+\S{0,96})|org\.apache\.commons\.collections4?\.(?:functors|keyvalue|map\.(?:lazy|default)|transformer|comparators)\S{0,96}|org\.apache\.commons\.(?:beanutils\.beancomparator|configuration\.jndi\S{0,64}|dbcp2?\.(?:basic|cpds|datasources)\S{0,64}|fileupload\.disk\.diskfileitem)|org\.codehaus\.groovy\.runtime\.\w{1,64}|org\.springframework\.(?:context\.support\.(?:classpath|filesystem)xmlapplicationcontext|beans\.factory\.(?:objectfactory|config\.methodinvoking\w+|config\.propertypathfactorybean)|aop\.support\.defaultbeanfactorypointcutadvisor|jndi\S{0,64}|transaction\.jta\S{0,64}|expression\.spel\S{0,64})|com\.bea\.core\.repackaged\.\S{1,128}|com\.tangosol\.\S{1,96}|com\.mchange\.v2\.c3p0\S{0,96}|com\.alibaba\.(?:druid|fastjson)\S{0,96}|com\.zaxxer\.hikari\S{0,96}|com\.ibatis\.\S{0,96}|org\.apache\.ibatis\.datasource\.jndi\S{0,64}|org\.apache\.xbean\.\S{0,96}|org\.hibernate\.(?:jmx|engine\.spi\.typedvalue|tuple)\S{0,64}|javax\.(?:management\.badattributevalueexpexception|script\.scriptenginemanager|naming\.(?:initialcontext|ldap)\S{0,64}|swing\.jeditorpane|el\.elprocessor)|sun\.(?:rmi\.\S{1,96}|misc\.(?:unsafe|launcher)\S{0,32}|net\.www\S{0,64}|print\.unixprintservice\w*)|java\.(?:rmi\.server\.\S{1,64}|net\.(?:urlclassloader|inet[46]?address\b|inetsocketaddress\b)|beans\.(?:xmldecoder|eventhandler|expression|statement)|security\.signedobject|util\.serviceloader|lang\.(?:reflect\.proxy|invoke\.methodhandles\S{0,32}|classloader|compiler|shutdown|unixprocess|processimpl))|ch\.qos\.logback\.core\.db\S{0,96}|net\.sf\.ehcache\.transaction\S{0,96}|org\.jdom\S{0,32}\.jdomexception|ysoserial\b\S{0,64})"
)
_RUNTIME: Final = re.compile(
    r"(?i)(?<![\w/.])java\.(?:lang\.|\w{1,16}\.)?(?:runtime|processbuilder)(?!\w*exception)\b(?:\.getruntime\b\S{0,64}|\.\w{1,32}\b)?|\.getruntime\(\)|\bnew\s+processbuilder\s*\("
)
_PACKAGE: Final = re.compile(
    r"(?<![\w/])(?:java\.(?:io\.(?:File\w*|InputStreamReader|PrintStream|BufferedReader|InputStream|Reader|Writer|ObjectInputStream)|lang\.(?:Process\w*|Class|Integer|String|System|Thread|Object|reflect\.\w+|Number|Math|annotation\w*)|util\.(?:Scanner|zip\.\w+))|javax\.servlet\.\S{1,64}|com\.opensymphony\.xwork2\b\S{0,64}|org\.apache\.(?:commons|struts2?)\b\S{0,64}|ognl\.\w{1,32}|freemarker\.template\.\w{1,64})"
)
_PHP: Final = re.compile(
    r"(?:^|[\"';{}:,=|(\s&@])[OC]:\+?\d{1,4}:(?:\"|%22|\\\"|&quot;)[^\"%&]{1,256}?(?:\\)?(?:\"|%22|&quot;):\+?\d{1,6}:\{|(?:^|[;{])E:\d{1,4}:\"[\w\\]{1,128}:\w{1,64}\";"
)
_DOTNET: Final = re.compile(
    r"AAEAAAD/{4,5}|ABAAAA/{5}|AAQAAAP/{4}8|(?i:\b(?:System\.(?:Windows\.Data\.ObjectDataProvider|Diagnostics\.Process(?:StartInfo)?|Configuration\.Install\.AssemblyInstaller|Activities\.Presentation\.WorkflowDesigner|Windows\.(?:ResourceDictionary|Forms\.(?:BindingSource|AxHost))|Security\.(?:Principal\.WindowsIdentity|Claims\.ClaimsIdentity)|Management\.Automation\.PSObject|Collections\.Generic\.ComparisonComparer|Workflow\.ComponentModel\.\S{1,64}|Data\.(?:DataSet|Services\.Internal\.ExpandedWrapper)|IO\.FileInfo|Reflection\.Assembly|Runtime\.Remoting\.ObjRef|Web\.UI\.(?:LosFormatter|ObjectStateFormatter)|CodeDom\.Compiler\.TempFileCollection|Drawing\.Design\.ToolboxItemContainer)|Microsoft\.VisualStudio\.Text\.Formatting\.TextFormattingRunProperties)\b)"
)
_PICKLE: Final = re.compile(
    r"^py/(?:object|reduce|function|type|newobj|repr)(?:apply)?$|(?:^|\n|\x80[\x02-\x05]|\()\(?[ci](?:os|posix|nt|subprocess|__builtin__|builtins|commands|sys|importlib|runpy|pty|webbrowser|timeit|socket|operator|functools)\n(?:system|popen\w*|Popen|check_output|check_call|call|run|eval|exec|execfile|getattr|__import__|getoutput|spawn\w*|import_module|open|attrgetter|partial|create_connection|timeit|apply|input|compile)\n"
    r"|(?:^|[^A-Za-z0-9+/])(?:Y29zCnN5c3RlbQ|Y3Bvc2l4CnN5c3RlbQ|Y19fYnVpbHRpbl9f|Y2J1aWx0aW5z|Y3N1YnByb2Nlc3MK|KFMn|gASV[A-Za-z0-9+/]{4}AAAAAACM|gAR[A-Za-z0-9+/]{4,}|gAN[jc]|gAJjcG9zaXgK|gAJjb3MK|gAJjX19idWlsdGluX18K|gAJjc3VicHJvY2Vzcwo|gAWV[A-Za-z0-9+/]{4}AAAAAACM)[A-Za-z0-9+/=]{8,}"
    r"|\x80[\x02-\x05]\x95?.{0,12}\x8c.(?:posix|os|nt|subprocess|builtins)\x94?"
)
_PICKLES: Final = ("Y29zC", "Y3Bvc2l4", "Y19fYn", "Y2J1aW", "Y3N1Yn", "KFMn", "gASV", "gAWV", "gAR", "gAN", "gAJ")
_RUBY: Final = re.compile(
    r"(?:^|[^A-Za-z0-9+/])BAh(?:vO|VOh|bC|c|lOh|jC?|1O)[A-Za-z0-9+/=]{8,}|\x04\x08[oUuecCmM][:;]?[\x06-\xff]?[A-Z]"
)
_YAML: Final = re.compile(
    r"(?i)!{1,2}(?:python/(?:object|name|module|apply)\S{0,128}|ruby/(?:object|hash|struct|class|exception|regexp|sym|range|module|marshalable)\S{0,128}|(?:javax?|com|org|sun|ch)\.[a-z]\S{1,128}|perl/\S{1,64}|php/object\S{0,64}|js/(?:function|regexp|undefined)|<!js|clojure/\S{0,64}|!?map:\w{1,64}::\w|binary\s+rO0AB)|tag:yaml\.org,2002:(?:python|ruby|js|java|perl|php)/\S{0,64}|!<tag:yaml\.org,2002:(?:java|python|ruby|js)\S{0,64}"
)
_NODE: Final = re.compile(
    r"_\$\$ND_FUNC\$\$_|\b__js_function\b|\"\$\$\w{1,16}_FUNC|\$\w{1,4}:(?:\w{1,32}:)*(?:constructor|__proto__|prototype)\b|\bconstructor:constructor\b"
)
_STREAMS: Final = (
    "ro0ab",
    "kztaau",
    "cs7qaf",
    "aaeaaad",
    "bahv",
    "bahb",
    "bahc",
    "bahl",
    "bahj",
    "bah1",
    "aced",
    "h4si",
    "kfmn",
    "y29zc",
    "y3bvc2l4",
    "y19fyn",
    "y2j1aw",
    "y3n1yn",
    "gasv",
    "gawv",
    "gan",
    "gaj",
    "gar",
)
"""What streams begin with in base64 and in hexadecimal, in lower case."""
_SHORTEST_STREAM: Final = 5
_SHAPES: Final = frozenset("{$")
_PICKLED: Final = Needles(
    ("system\n", "popen\n", "eval\n", "exec\n", "getattr\n", "call\n", "run\n", "output\n", "__import__\n")
)
_STREAM_LETTERS: Final = frozenset("\x02\x03\x04\x05")
"""The versions that streams of pickle and Marshal begin with."""
_CLASSES: Final = Needles((
    "java.", "javax.", "com.sun.", "com.bea.", "com.tangosol.", "com.mchange.", "com.alibaba.", "com.zaxxer.", "com.ibatis.", "com.opensymphony",
    "org.apache.", "org.codehaus.", "org.springframework.", "org.hibernate.", "org.jdom", "sun.rmi", "sun.misc", "sun.net", "sun.print", "ch.qos.", "net.sf.ehcache",
    "ysoserial", "processbuilder", "runtime.", "getruntime", "ognl.", "freemarker.", "system.windows", "system.diagnostics", "system.configuration", "system.activities",
    "system.security", "system.management", "system.collections", "system.workflow", "system.data", "system.io.", "system.reflection", "system.runtime", "system.web", "system.codedom",
    "system.drawing", "microsoft.visualstudio",
))  # fmt: skip


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a text has a class, a tag, or what an object stream begins with."""
    if len(lowered) > _SHORTEST_STREAM and (lowered.startswith(_STREAMS) or "ro0ab" in lowered or "////" in lowered):
        return True
    if not specials:
        return "processbuilder" in lowered
    return (
        ("." in specials and _CLASSES.are_in(lowered))
        or (":" in specials and (not _SHAPES.isdisjoint(specials) or "tag:yaml" in lowered))
        or ("!" in specials and ("!!" in lowered or "!ruby" in lowered or "!python" in lowered or "!java" in lowered))
        or ("_" in specials and ("__js_function" in lowered or "nd_func" in lowered))
        or ("\n" in specials and _PICKLED.are_in(lowered))
        or not _STREAM_LETTERS.isdisjoint(specials)
        or "processbuilder" in lowered
        or lowered.startswith("py/")
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find objects and the names of classes that give power to who sends them."""
    lowered = lower_case(text)
    found: list[Sign] = []
    for name, pattern in _streams(text, lowered):
        match = pattern.search(text)
        if match:
            found.append(Sign(name, match.start(), match.end()))
    yield from found
    if not (
        "!" in text
        or "processbuilder" in lowered
        or "tag:yaml" in lowered
        or ("." in text and _CLASSES.are_in(lowered))
    ):
        return
    speaks = position in PROSE_POSITIONS and (is_running(text) or bool(CodeSpans(text, position)))
    for name, pattern in _names(lowered):
        match = pattern.search(text)
        if match:
            yield Sign("object.quoted" if speaks else name, match.start(), match.end())
            return


def _streams(text: str, lowered: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    if (
        "rO0AB" in text
        or "KztAAU" in text
        or "Cs7QAF" in text
        or "aced" in lowered
        or "ac ed" in lowered
        or "H4sI" in text
        or "\xac\xed" in text
    ):
        yield "object.java", _JAVA
    if ":{" in text:
        yield "object.php", _PHP
    if "\n" in text or "\x80" in text or text.startswith("py/") or any(word in text for word in _PICKLES):
        yield "object.pickle", _PICKLE
    if "BAh" in text or "\x04\x08" in text:
        yield "object.ruby", _RUBY
    if "////" in text:
        yield "object.dotnet", _DOTNET
    if "$" in text or "__js" in text or "constructor:" in text:
        yield "object.node", _NODE


def _names(lowered: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    if "!" in lowered or "tag:yaml" in lowered:
        yield "object.yaml", _YAML
    if "system." in lowered or "microsoft." in lowered:
        yield "object.dotnet", _DOTNET
    if _CLASSES.are_in(lowered) or "processbuilder" in lowered:
        yield "object.java_gadget", _GADGET
    if "runtime" in lowered or "processbuilder" in lowered:
        yield "object.java_runtime", _RUNTIME
    if (
        "java" in lowered
        or "org.apache" in lowered
        or "opensymphony" in lowered
        or "ognl." in lowered
        or "freemarker." in lowered
    ):
        yield "object.java_package", _PACKAGE
