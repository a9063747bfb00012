"""The policies that were applied to a network: listed, read, and gone back to, also after the daemon was killed."""

from lab.registry import expect, test
from lab.traffic import trio

FIRST, SECOND = "allow client -> server : 7000\n", "# the stranger alone\nallow stranger -> server : 7000\n"


@test("history")
def history(context):
    host, microseg = context.own_machine()
    client, server, stranger = trio(host, microseg, "past", "10.78.0.0/24", policy="")
    target = f"tcp:{server.ip}:7000"

    def who():
        return [name for name, c in (("client", client), ("stranger", stranger)) if c.probe(target)[target] == "accepted"]

    def apply(*arguments, text=None):
        done = microseg.cli("policy", "apply", "past", *arguments, input=text)
        return done.stdout.strip(), who()

    seen = [apply("-", text=FIRST), apply("-", text=SECOND), apply("--version", "1")]
    expected = [("applied version 1 to past", ["client"]), ("applied version 2 to past", ["stranger"]),
                ("applied version 3 to past", ["client"])]
    expect(seen == expected, f"applied two policies and went back to the first: {seen}, expected {expected}")
    refused = [microseg.cli("policy", "apply", "past", *arguments, input="alow client", check=False)
               for arguments in (["-"], ["--version", "9"])]
    expect([done.returncode for done in refused] == [1, 1] and who() == ["client"],
           f"a broken policy and a version that never was: {[done.stderr for done in refused]}; then {who()} may connect")
    microseg.cli("policy", "remove", "past")
    microseg.kill()
    microseg.start()
    kept = [(v["version"], v["text"]) for v in microseg.json("policy", "history", "past")["versions"]]
    expected = [(4, ""), (3, FIRST), (2, SECOND), (1, FIRST)]
    expect(kept == expected and who() == [], f"after a removal and kill -9: {kept}, expected {expected}; {who()} may connect")
    printed = microseg.cli("policy", "history", "past", "2").stdout
    expect(printed == SECOND, f"version 2 is printed as {printed!r}, expected {SECOND!r}")
    expect(apply("--version", "2") == ("applied version 5 to past", ["stranger"]), f"version 2 once more: {who()} may connect")
    return f"{len(kept)} versions kept over kill -9, 2 gone back to and in force at once; 2 refusals made none"
