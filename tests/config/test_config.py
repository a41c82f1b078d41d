"""The configuration: what a good file means, and what is said about a bad one."""

import json
from pathlib import Path
from typing import Any

import pytest

from kvraft.config import Address, Config, ConfigInvalid, Durability, Limits, Peer, UnknownNode, load
from kvraft.config.file import CONFIG_BYTES_MAX
from kvraft.config.values import ID_MAX, PEERS_MAX

REPOSITORY = Path(__file__).parents[2]

ONE_PEER = [{"id": 0, "address": "127.0.0.1:8080"}]


def written(folder: Path, content: str | bytes) -> Path:
    """Write a config file and return its path."""
    path = folder / "config.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def loaded(folder: Path, **settings: Any) -> Config:
    """Load a config of one peer with these settings beside it."""
    return load(written(folder, json.dumps({"peers": ONE_PEER} | settings)))


def mistakes_in(folder: Path, content: str | bytes) -> list[str]:
    """Load a file that cannot be used, and return its mistakes as text."""
    path = written(folder, content)
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    return [str(mistake) for mistake in caught.value.mistakes]


def mistakes_of(folder: Path, **settings: Any) -> list[str]:
    """Load a config of one peer with these wrong settings beside it, and return the mistakes."""
    return mistakes_in(folder, json.dumps({"peers": ONE_PEER} | settings))


# --- good files ------------------------------------------------------------------------------------------------------


def test_the_repository_has_a_cluster_of_three() -> None:
    """The config.json at hand names three nodes on this machine, with their pages, and its data goes beside it."""
    config = load(REPOSITORY / "config.json")

    assert [(peer.id, str(peer.address), str(peer.http)) for peer in config.peers] == [
        (0, "127.0.0.1:8080", "127.0.0.1:9080"),
        (1, "127.0.0.1:8081", "127.0.0.1:9081"),
        (2, "127.0.0.1:8082", "127.0.0.1:9082"),
    ]
    assert config.node_dir(1) == REPOSITORY / "data/1"


def test_only_the_peers_are_needed(tmp_path: Path) -> None:
    """Everything but the peers has a default."""
    config = loaded(tmp_path)

    assert config == Config(
        peers=(Peer(0, Address("127.0.0.1", 8080), bind=None, http=None),),
        heartbeat_ms=100,
        election_timeout_ms=(250, 500),
        data_dir=tmp_path / "data",
        durability=Durability.DISK,
        limits=Limits(
            line_bytes=2**20,
            clients=10_000,
            client_outbox_bytes=2**24,
            uncommitted_bytes=2**26,
            request_timeout_ms=5_000,
            segment_bytes=2**24,
        ),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    """Each key of the file reaches its value."""
    peer = {"id": 7, "address": "db.example:80", "bind": "0.0.0.0:8080", "http": "[::]:9080"}
    limits = {
        "line_bytes": 2048,
        "clients": 3,
        "client_outbox_bytes": 65_536,
        "uncommitted_bytes": 65_537,
        "request_timeout_ms": 100,
        "segment_bytes": 65_538,
    }

    config = loaded(
        tmp_path,
        peers=[peer],
        heartbeat_ms=20,
        election_timeout_ms=[40, 40],
        data_dir="/var/lib/kvraft",
        durability="memory",
        limits=limits,
    )

    assert config == Config(
        peers=(Peer(7, Address("db.example", 80), Address("0.0.0.0", 8080), Address("::", 9080)),),
        heartbeat_ms=20,
        election_timeout_ms=(40, 40),
        data_dir=Path("/var/lib/kvraft"),
        durability=Durability.MEMORY,
        limits=Limits(**limits),
    )


def test_paths_are_absolute_whatever_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder belongs to the config file, not to the folder in which the node was started."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, json.dumps({"peers": ONE_PEER, "data_dir": "here"}))

    assert load(Path("config.json")).data_dir == tmp_path / "here"


def test_a_peer_is_found_by_its_id(tmp_path: Path) -> None:
    """`peer` returns the member of that id, and the error for an unknown id lists those there are."""
    peers = [{"id": node_id, "address": f"127.0.0.1:{8080 + node_id}"} for node_id in (10, 2, 1)]
    config = loaded(tmp_path, peers=peers)

    assert config.peer(2) is config.peers[1]
    with pytest.raises(UnknownNode, match=r"names no node 3; its ids are 1, 2, 10$"):
        config.peer(3)


def test_a_node_listens_where_bind_says() -> None:
    """`bind` replaces the address for listening, and for nothing else."""
    plain = Peer(0, Address("a.example", 80))
    bound = Peer(0, Address("a.example", 80), bind=Address("10.0.0.1", 81))

    assert plain.listen == Address("a.example", 80)
    assert bound.listen == Address("10.0.0.1", 81)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Editors that put a byte order mark before UTF-8 do no harm."""
    text = "\ufeff" + json.dumps({"peers": ONE_PEER})

    assert load(written(tmp_path, text)).peers[0].id == 0


@pytest.mark.parametrize("count", [1, 2, 4, PEERS_MAX])
def test_a_cluster_may_have_any_size(tmp_path: Path, count: int) -> None:
    """One member, an even number and the most that are allowed are all good."""
    peers = [{"id": each, "address": f"node:{each + 1}"} for each in range(count)]

    assert len(loaded(tmp_path, peers=peers).peers) == count


# --- files that cannot be read ---------------------------------------------------------------------------------------


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """A missing file is one line of text, with its path and what to do."""
    with pytest.raises(ConfigInvalid, match=r"^/.*/config\.json: there is no such file; start in the folder") as caught:
        load(tmp_path / "config.json")

    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What the system says about an unreadable file is passed on."""
    with pytest.raises(ConfigInvalid, match="it cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", 'it is empty; it must name the peers: {"peers": [...]}'),
        (b'{"peers": "\xff"}', "it is not UTF-8 (byte 11); save it as UTF-8"),
        ('{\n  "peers": [,]\n}', "line 2, column 13: this is not JSON: Expecting value"),
        ("[" * 100_000, "its brackets are nested too deep"),
        ("[" * 900 + "]" * 900, "found [[[["),
        ("9" * 5_000, "this is not JSON that can be read: Exceeds the limit"),
        (" " * (CONFIG_BYTES_MAX + 1), "it is longer than 1048576 bytes; is this the right file?"),
        (" " * CONFIG_BYTES_MAX, "it is empty"),
        ("[]", "found [], expected an object with the keys peers, "),
    ],
    ids=["empty", "not UTF-8", "not JSON", "far too deep", "deep", "long number", "too long", "just fits", "a list"],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    """A file that holds no JSON object is refused in one line, with the place of a syntax error."""
    (mistake,) = mistakes_in(tmp_path, content)

    assert mistake.startswith(complaint)


@pytest.mark.parametrize("content", ['{"peers": [1, 2,]}', '{"peers": [],\n}', '{"peers": [], }'])
def test_a_trailing_comma_is_named(tmp_path: Path, content: str) -> None:
    """The most usual mistake in JSON is called what it is."""
    (mistake,) = mistakes_in(tmp_path, content)

    assert mistake.endswith("remove the comma in front of the closing bracket")


@pytest.mark.parametrize("content", ['{"peers": [1,,2]}', '{"peers": ]}', '{"peers": [] "x"}'])
def test_no_other_mistake_is_called_a_trailing_comma(tmp_path: Path, content: str) -> None:
    """Where the comma is not the last one, the place has to do."""
    (mistake,) = mistakes_in(tmp_path, content)

    assert "comma in front" not in mistake


# --- what is wrong by itself -----------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """One run shows everything that is wrong: shape, values, unknown keys, repeated keys and contradictions."""
    text = """{
        "peers": [
            {"id": 0, "adress": "127.0.0.1:8080"},
            {"id": "1", "address": "127.0.0.1"},
            {"id": 2, "address": "127.0.0.1:8082"},
            {"id": 2, "address": "127.0.0.1:8082", "address": "127.0.0.1:8082"}
        ],
        "hartbeat_ms": 100,
        "heartbeat_ms": 200,
        "durability": "disc",
        "limits": {"clients": 0}
    }"""
    path = written(tmp_path, text)

    with pytest.raises(ConfigInvalid) as caught:
        load(path)

    assert str(caught.value).splitlines() == [
        f"{path} has 10 mistakes:",
        "  peers[3].address: stands here more than once; keep one",
        '  hartbeat_ms: is no known key; did you mean "heartbeat_ms"?',
        '  peers[0].adress: is no known key; did you mean "address"?',
        '  peers[1].id: found "1", expected a whole number from 0 to 2147483647 without quotes',
        '  peers[1].address: found "127.0.0.1", expected "host:port", such as "127.0.0.1:8080"',
        '  durability: found "disc", expected "disk" or "memory"; did you mean "disk"?',
        "  limits.clients: found 0, expected a whole number from 1 to 1000000 connections",
        "  peers[3].id: repeats the id 2 of peers[2]; give every member its own",
        "  peers[3].address: repeats 127.0.0.1:8082 of peers[2]; give every member its own",
        (
            "  heartbeat_ms: 200 ms is more than half of the shortest election timeout, 250 ms; "
            "lower the one or raise the other"
        ),
    ]


@pytest.mark.parametrize("wrong", [True, False, 1.0, 1.5, "1", None, [1], {"a": 1}, -1, ID_MAX + 1])
def test_an_id_is_a_whole_number_and_nothing_else(tmp_path: Path, wrong: object) -> None:
    """Nothing is converted to a number: neither true nor 1.0 nor "1" is an id."""
    (mistake,) = mistakes_of(tmp_path, peers=[{"id": wrong, "address": "a:1"}])

    assert mistake.startswith(f"peers[0].id: found {json.dumps(wrong)}, expected a whole number from 0 to {ID_MAX}")


@pytest.mark.parametrize("good", [0, ID_MAX])
def test_ids_reach_from_0_to_the_limit(tmp_path: Path, good: int) -> None:
    """Both ends of the range are ids."""
    assert loaded(tmp_path, peers=[{"id": good, "address": "a:1"}]).peers[0].id == good


@pytest.mark.parametrize("wrong", [True, 100.0, "100", None, [100], 4, 10_001])
def test_a_time_is_a_whole_number_within_bounds(tmp_path: Path, wrong: object) -> None:
    """A number of milliseconds is not converted from anything else, and has bounds."""
    (mistake,) = mistakes_of(tmp_path, heartbeat_ms=wrong, election_timeout_ms=[60_000, 60_000])

    assert mistake.startswith(f"heartbeat_ms: found {json.dumps(wrong)}, expected a whole number from 5 to 10000 ms")


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (500, "election_timeout_ms"),
        ([], "election_timeout_ms"),
        ([250], "election_timeout_ms"),
        ([250, 300, 500], "election_timeout_ms"),
        ({"min": 250}, "election_timeout_ms"),
        ("25", "election_timeout_ms"),
        ([250, "500"], "election_timeout_ms[1]"),
        ([9, 500], "election_timeout_ms[0]"),
        ([250, 60_001], "election_timeout_ms[1]"),
    ],
)
def test_election_timeouts_are_a_pair(tmp_path: Path, wrong: object, place: str) -> None:
    """The election timeout is a list of two numbers; a wrong one of them is named by its place."""
    (mistake,) = mistakes_of(tmp_path, election_timeout_ms=wrong)

    assert mistake.startswith(f"{place}: found ")


@pytest.mark.parametrize("wrong", [None, {}, [], "x", [1] * (PEERS_MAX + 1)])
def test_peers_are_a_list_of_some_members(tmp_path: Path, wrong: object) -> None:
    """No member, too many and no list at all are each one mistake."""
    (mistake,) = mistakes_of(tmp_path, peers=wrong)

    assert mistake.startswith("peers: found ")
    assert f"a list of 1 to {PEERS_MAX} objects" in mistake


@pytest.mark.parametrize("wrong", [None, [], "x", 3])
def test_a_peer_is_an_object(tmp_path: Path, wrong: object) -> None:
    """The error for a peer that is no object lists its keys."""
    mistakes = mistakes_of(tmp_path, peers=[wrong])

    expected = "expected an object with the keys id, address, bind, http"
    assert mistakes == [f"peers[0]: found {json.dumps(wrong)}, {expected}"]


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """What is needed and not there is named with its whole path."""
    assert mistakes_of(tmp_path, peers=[{}]) == ["peers[0].id: is missing", "peers[0].address: is missing"]
    assert mistakes_in(tmp_path, "{}") == ["peers: is missing"]


def test_what_a_follower_does_is_one_of_two(tmp_path: Path) -> None:
    """It answers with the leader unless it is set to forward requests."""
    (mistake,) = mistakes_of(tmp_path, on_follower="forwards")
    assert mistake == 'on_follower: found "forwards", expected "redirect" or "forward"; did you mean "forward"?'


def test_an_unknown_key_far_from_all_lists_them(tmp_path: Path) -> None:
    """Where no key is near the unknown one, all of them are listed; control characters do not reach the terminal."""
    mistakes = mistakes_of(tmp_path, limits={"\x1b[2J": 1})

    assert mistakes == [
        (
            'limits["\\u001b[2J"]: is no known key; the keys here are '
            "line_bytes, clients, client_outbox_bytes, uncommitted_bytes, request_timeout_ms, segment_bytes, "
            "log_bytes, log_kept_bytes, log_late_bytes, store_bytes, store_keys, sessions, session_bytes, "
            "transaction_operations, transaction_bytes, watches, leases, locks, watch_bytes"
        )
    ]


@pytest.mark.parametrize("wrong", [3, None, "", "~/data", "a\0b", "\ud800", ["data"]])
def test_the_data_folder_is_a_path(tmp_path: Path, wrong: object) -> None:
    """A data folder that no system call would take, or only a shell, is refused."""
    (mistake,) = mistakes_of(tmp_path, data_dir=wrong)

    assert mistake.startswith(f"data_dir: found {json.dumps(wrong)}, expected ")


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    """A message shows the beginning of a long value, not all of it."""
    (mistake,) = mistakes_of(tmp_path, durability="x" * 10_000)

    assert mistake == f'durability: found "{"x" * 58}…, expected "disk" or "memory"'


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
        ("localhost:65535", "localhost", 65_535, "localhost:65535"),
        ("Node-1.EXAMPLE.com:80", "node-1.example.com", 80, "node-1.example.com:80"),
        ("kv_0:08080", "kv_0", 8080, "kv_0:8080"),
        ("[::1]:80", "::1", 80, "[::1]:80"),
        ("[2001:DB8:0:0::1]:80", "2001:db8::1", 80, "[2001:db8::1]:80"),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, "[fe80::1%eth0]:80"),
        ("a" * 253 + ":80", "a" * 253, 80, "a" * 253 + ":80"),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int, shown: str) -> None:
    """An address is read, brought to one form, and written so that it can be read again."""
    address = Address.parse(text)

    assert address == Address(host, port)
    assert str(address) == shown
    assert Address.parse(shown) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "host:port"),
        ("localhost", "host:port"),
        (":8080", "host:port"),
        ("[::1]", "host:port"),
        ("a:", "a port from 1 to 65535"),
        ("a:0", "a port from 1 to 65535"),
        ("a:65536", "a port from 1 to 65535"),
        ("a:-1", "a port from 1 to 65535"),
        ("a:+1", "a port from 1 to 65535"),
        ("a:1_0", "a port from 1 to 65535"),
        ("a:80 ", "a port from 1 to 65535"),
        ("a:80\n", "a port from 1 to 65535"),
        ("a:\u0661", "a port from 1 to 65535"),
        ("::1:8080", "an IPv6 address in brackets"),
        ("[localhost]:80", "an IPv6 address in the brackets"),
        ("[1.2.3.4]:80", "an IPv6 address in the brackets"),
        ("1.2.3.256:80", "an IPv4 address of four numbers"),
        ("1.2.3:80", "an IPv4 address of four numbers"),
        ("http://a:80", "host and port alone"),
        (" a:80", "a host name"),
        ("a b:80", "a host name"),
        ("user@a:80", "a host name"),
        ("a-:80", "a host name"),
        ("\u00fc:80", "a host name"),
        ("a" * 254 + ":80", "a host name of at most 253"),
    ],
)
def test_a_bad_address_is_told_what_is_expected(text: str, expected: str) -> None:
    """Whatever is wrong with an address, the message says what should stand there."""
    with pytest.raises(ValueError, match=r"^found .*, expected ") as caught:
        Address.parse(text)

    assert expected in str(caught.value)


# --- what is right by itself and wrong together ----------------------------------------------------------------------


def test_addresses_are_compared_not_their_spelling(tmp_path: Path) -> None:
    """Two spellings of one address are one address."""
    mistakes = mistakes_of(tmp_path, peers=[{"id": 0, "address": "[::1]:80"}, {"id": 1, "address": "[0:0::1]:80"}])

    assert mistakes == ["peers[1].address: repeats [::1]:80 of peers[0]; give every member its own"]


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80"])
def test_an_address_that_reaches_nobody_is_refused(tmp_path: Path, address: str) -> None:
    """The address of every interface can be bound, but no node can connect to it."""
    (mistake,) = mistakes_of(tmp_path, peers=[{"id": 0, "address": address}])

    assert mistake.startswith(f"peers[0].address: no node can connect to {address}; ")
    assert loaded(tmp_path, peers=[{"id": 0, "address": "a:80", "bind": address}]).peers[0].listen.port == 80


def test_machines_may_bind_alike(tmp_path: Path) -> None:
    """Nodes on different machines may bind, and serve HTTP on, the same local address."""
    peers = [
        {"id": each, "address": f"10.0.0.{each}:80", "bind": "0.0.0.0:80", "http": "127.0.0.1:9080"} for each in (1, 2)
    ]

    assert len(loaded(tmp_path, peers=peers).peers) == 2


@pytest.mark.parametrize("http", ["a:80", "b:80", "c:80"])
def test_http_has_an_address_of_its_own(tmp_path: Path, http: str) -> None:
    """HTTP is not served where this node binds, nor where any node is reached."""
    peers = [{"id": 0, "address": "a:80", "bind": "c:80", "http": http}, {"id": 1, "address": "b:80"}]

    (mistake,) = mistakes_of(tmp_path, peers=peers)

    assert mistake == f"peers[0].http: {http} is taken by a node itself; HTTP needs an address of its own"


def test_the_shortest_timeout_is_not_the_longer(tmp_path: Path) -> None:
    """Election timeouts are given in order."""
    mistakes = mistakes_of(tmp_path, election_timeout_ms=[500, 250])

    assert mistakes == ["election_timeout_ms: the shortest, 500 ms, is longer than the longest, 250 ms"]


def test_a_heartbeat_is_at_most_half_a_timeout(tmp_path: Path) -> None:
    """One late heartbeat must not cost an election; exactly half is allowed."""
    assert loaded(tmp_path, heartbeat_ms=125).heartbeat_ms == 125
    assert mistakes_of(tmp_path, heartbeat_ms=126) == [
        (
            "heartbeat_ms: 126 ms is more than half of the shortest election timeout, 250 ms; "
            "lower the one or raise the other"
        )
    ]


@pytest.mark.parametrize("name", ["client_outbox_bytes", "uncommitted_bytes"])
def test_the_longest_line_fits_every_limit(tmp_path: Path, name: str) -> None:
    """A line that is accepted can also be committed and answered."""
    assert loaded(tmp_path, limits={"line_bytes": 65_536, name: 65_536}).limits.line_bytes == 65_536

    (mistake,) = mistakes_of(tmp_path, limits={"line_bytes": 65_537, name: 65_536})

    assert mistake.startswith(f"limits.{name}: 65536 is less than limits.line_bytes, 65537: the longest line could")


@pytest.mark.parametrize("http", ["a:9080", "0.0.0.0:9080"])
def test_two_nodes_of_a_machine_share_no_http(tmp_path: Path, http: str) -> None:
    """Nodes of different machines may well bind the same."""
    peers = [{"id": 0, "address": "a:80", "http": http}, {"id": 1, "address": "a:81", "http": http}]

    (mistake,) = mistakes_of(tmp_path, peers=peers)

    assert mistake == f"peers[1].http: repeats {http} of peers[0], on the same machine; give each its own"
    peers[1]["address"] = "b:80"
    assert len(loaded(tmp_path, peers=peers).peers) == 2
