"""The table of commands: the name, the function behind it, its line of help.

A group's help shows these lines and loads none of its commands. A test compares each with the beginning of the
function's docstring, which is the command's own help.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Command(NamedTuple):
    """A command: `module:function` below `observer.cli`, and its line of help."""

    function: str
    help: str


class Group(NamedTuple):
    """A group of commands: its line of help, and further text of its own help.

    `options` is the function (as in `Command`) of a group that has options of its own; its docstring is then the help.
    `is_relation`: without one of its commands the name means `observer show NAME`.
    """

    help: str
    commands: Mapping[str, "Command | Group"]
    more: str = ""
    options: str = ""
    is_relation: bool = False


COMMANDS: Final = Group(
    "Owns the Korean market's data: every listed symbol sampled, the trades of those that matter streamed, every gap "
    "found and filled.",
    {
        "demo": Command("demo:demo", "Run a trading day against the built-in simulator, in two minutes."),
        "init": Command("init:init", "Write a new system's configuration into a folder."),
        "run": Command("run:run", "Run the system until SIGTERM or ctrl-C."),
        "status": Command("status:status", "Show processes and open alerts of the running system."),
        "top": Command("top:top", "Show the running system, refreshed each second, until q."),
        "logs": Command("logs:logs", "Show the processes' logs, merged by time."),
        "tail": Command("tail:tail", "Show committed events of the running system as they come."),
        "web": Command("web:web", "Show what is stored as a page in a browser, until ctrl-C."),
        "doctor": Command("doctor:doctor", "Examine a system: configuration, machine, data."),
        "config": Group(
            "Show, check and compare the configuration.",
            {
                "show": Command("config:show_config", "Show the effective configuration."),
                "check": Command("config:check_config", "Check a configuration and the files it names."),
                "diff": Command("config:diff_config", "Show what differs: from another file, or from the defaults."),
            },
        ),
        "alerts": Group(
            "Show open alerts; silence one.",
            {
                "silence": Command("alerts:silence", "Silence an open alert for a while."),
                "test": Command("alert_targets:send_test", "Send a test message to the targets of alerts."),
            },
            options="alerts:alerts",
        ),
        "accounts": Command("accounts:accounts", "Show the accounts: health, token, slots, market data stream."),
        "ctl": Group(
            "Send commands to the running system.",
            {
                "start": Command("control:start", "Start a process that is stopped."),
                "stop": Command("control:stop", "Stop a process; it stays stopped."),
                "restart": Command("control:restart", "Restart one process."),
                "shutdown": Command("control:shutdown", "Stop all processes in order."),
                "reload": Command("control:reload", "Reload the configuration; restart the processes it changes."),
                "drain": Command("control:drain", "Wait until all published events are in the database."),
                "run-job": Command("control:run_job", "Run one of the day's jobs now."),
                "log-level": Command("control:log_level", "Change the log level of a process until it ends."),
                "capture": Group(
                    "Record committed events, by the running system.",
                    {
                        "start": Command("control:start_capture", "Start recording committed events in a journal."),
                        "stop": Command("control:stop_capture", "Stop the recording and verify it."),
                    },
                ),
            },
            more="Each is answered within a second: with its result, or that it is under way. "
            "Exit status 0: done or under way; 1: refused or failed; 2: the system could not be asked.",
        ),
        "kis": Group(
            "Run REST calls of KIS.",
            {
                "calls": Command("kis:list_calls", "List the calls: parameters, result, TR id and path."),
                "call": Command(
                    "kis:run_call",
                    "Run one call with a running system's token and rate limiter.",
                ),
            },
        ),
        "capture": Command("capture:capture", "Record committed events, or raw broker traffic, until ctrl-C."),
        "replay": Command("replay:replay", "Deliver a capture to a database, or decode a raw one."),
        "journal": Group(
            "Show and verify journals: captures, and segments of outboxes.",
            {
                "show": Command("journal:show", "Print a journal's label, batches and events, oldest first."),
                "verify": Command("journal:verify_command", "Read a journal to its end and check that it is whole."),
            },
        ),
        "db": Group(
            "Examine a whole database; change its schema.",
            {
                "stats": Command("database_care:stats", "Show the size of the database and of its tables."),
                "check": Command(
                    "database_care:check", "Check that the database is whole and has the expected schema."
                ),
                "upgrade": Command(
                    "database_care:upgrade_command", "Bring the database to the schema of this version."
                ),
                "digest": Command("database:digest_command", "Print a digest of each table's content."),
            },
        ),
        "backup": Group(
            "Make, verify and restore packages of all data.",
            {
                "now": Command("backup:now", "Make a package now: database, universe, ledgers, master files."),
                "list": Command("backup:list_packages", "List the packages, oldest first."),
                "verify": Command(
                    "backup:verify_command", "Verify a package: each file's digest, the database's own check."
                ),
                "restore": Command("backup_restore:restore_command", "Restore the database from a package."),
            },
        ),
        "lake": Group(
            "Seal finished days as Parquet files that any engine reads.",
            {
                "seal": Command("lake:seal_command", "Seal a finished day, or bring it up to date."),
                "status": Command("lake:status", "List the sealed days, and the stored days that are not."),
                "verify": Command("lake:verify_command", "Compare sealed days with their digests and the database."),
                "publish": Command("lake:publish_command", "Publish sealed days at the object store."),
            },
            more="It needs the packages of the extra `lake`; each command says how to install them.",
        ),
        "backfill": Group(
            "Fetch official bars of past days.",
            {
                "bars": Command("backfill:bars", "Fetch official bars of past days."),
                "check": Command("backfill:check", "Compare fetched minute bars with the stored trades."),
            },
            more="Calls have the lowest priority and use the token and the rate limiter of a running system.",
        ),
        "enrich": Group(
            "Assign sectors: one of the eleven of GICS to every stock.",
            {
                "run": Command("enrich:run_command", "Assign a sector to every stock."),
                "download": Command("enrich:download_command", "Download a FinanceDatabase snapshot (MIT license)."),
                "show": Command("enrich:show_command", "Show the sector of a stock, or counts by sector and region."),
            },
        ),
        "universe": Group(
            "Show and build the day's universe.",
            {
                "diff": Command("universe:diff", "Show additions, removals and rank changes between two days."),
                "build": Command("universe:build", "Build today's universe now, by the running system."),
                "file": Command("universe:file", "Print a day's file of the universe, made from the database."),
            },
            more="`observer universe [DATE] [SYMBOL]` shows the day's universe, as `observer show universe`.",
            is_relation=True,
        ),
        "slots": Group(
            "Show slots of the market data stream; pin and unpin symbols.",
            {
                "show": Command("slots:show", "Show subscriptions by slot, and pins without one."),
                "why": Command("slots:why", "Explain why a symbol has a slot, or has none."),
                "pin": Command("slots:pin", "Stream a symbol every day, whatever its score."),
                "unpin": Command("slots:unpin", "Remove a symbol's pin and free the slot that the pin holds."),
            },
            more="`observer slots [DATE] [SYMBOL]` shows the day's slots as intervals, as `observer show slots`.",
            is_relation=True,
        ),
        "gaps": Group(
            "Show gaps of the market data stream; retry their recovery.",
            {
                "retry": Command("gaps:retry", "Retry recovery now, also of gaps that were given up."),
            },
            more="`observer gaps [DATE] [SYMBOL]` shows the day's gaps, as `observer show gaps`.",
            is_relation=True,
        ),
        "coverage": Command("quality:coverage", "Show how complete a day's trades are, in all."),
        "show": Command("show:show", "Show a relation of the stored data."),
        "query": Command("research:query", "Query the stored days in SQL; read only."),
        "bars": Command("research:bars", "Show a symbol's bars of a day, and whether each is complete."),
        "export": Command("research:export", "Write a day's trades, bars, quality and decisions as files."),
        "decisions": Group(
            "Recompute trigger, slot and gap decisions.",
            {"verify": Command("decisions:verify", "Recompute a day's decisions and compare them with the stored.")},
            more="`observer decisions [DATE] [SYMBOL]` shows the day's decisions, as `observer show decisions`.",
            is_relation=True,
        ),
        "exports": Group(
            "Write the ledgers of overflow and recovery as files.",
            {"rebuild": Command("exports:rebuild", "Rebuild the ledger files of a day from the database.")},
        ),
        "calendar": Group(
            "Show trading days and sessions.",
            {"sessions": Command("calendar:sessions", "Show the sessions of days by venue, and why they are unusual.")},
        ),
        "etf": Group(
            "Update data of ETFs and ETNs; `observer etfs` shows them.",
            {
                "update": Command("etf:update", "Run update phases now, by the running system."),
                "report": Command("etf:show_report", "Report freshness and completeness."),
            },
        ),
        "master": Group(
            "Update listings from the exchanges' master files.",
            {
                "update": Command("master:update", "Check master files now, and apply their changes."),
                "approve": Command("master:approve", "Apply the changes of a run with pending approval."),
                "restore": Command("master:restore", "Restore the newest backup of an exchange's file."),
                "status": Command("master_queries:status", "Show each exchange: listings, file, last check."),
                "tradable": Command("master_queries:tradable", "Show the securities of a region that can be traded."),
                "diff": Command("master:diff", "Show how two versions of an exchange's file differ."),
                "verify": Command("master:verify", "Compare the listings in the database with the files."),
            },
        ),
        "keys": Group(
            "Make and list the CURVE keys of sockets on the network.",
            {
                "make": Command("keys:make", "Make key pairs for the servers and for this machine's operator."),
                "add": Command("keys:add", "Make a key pair for a client on another machine."),
                "remove": Command("keys:remove", "Admit a client no more."),
                "list": Command("keys:list_clients", "List the public keys with their roles."),
            },
        ),
        "simulator": Group(
            "Serve a simulated broker on loopback until ctrl-C.",
            {
                "offered": Command("simulator:offered", "Print the digest of the trades that a market offers."),
                "fault": Command("simulator:fault", "Inject a fault into a running simulator."),
                "counters": Command("simulator:counters", "Print a running simulator's counters."),
                "registrations": Command("simulator:registrations", "Print a running simulator's subscriptions."),
            },
            options="simulator:simulator",
        ),
    },
)
