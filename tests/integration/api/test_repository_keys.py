"""Who may open a repository, changed through the service, which must always be able to itself."""

from __future__ import annotations

import pytest

from holdfast.repository import Credential, LocalStore, Repository, parse_recovery_key
from holdfast.repository.errors import WrongPassphrase
from tests.support.place import PASSPHRASE, Place

NEW = "seven-lamps-above-the-quay"


@pytest.fixture
def route(stocked: Place) -> str:
    [repository] = stocked.get("/repositories")["repositories"]
    return f"/repositories/{repository['id']}"


def opens(place: Place, credential: Credential) -> bool:
    try:
        Repository.open(LocalStore(place.repository), credential)
    except WrongPassphrase:
        return False
    return True


def change(
    place: Place, route: str, current: str, new: str, status: int = 200
) -> dict[str, object]:
    body = {"current_passphrase": current, "new_passphrase": new}
    answer = place.client.put(f"/api/v1{route}/passphrase", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_slot_of_the_service_is_told_and_stays(stocked: Place, route: str) -> None:
    slots = stocked.get(f"{route}/keys")["slots"]
    assert [(slot["kind"], slot["opens_service"]) for slot in slots] == [
        ("passphrase", True),
        ("recovery", False),
    ]
    refused = stocked.client.delete(f"/api/v1{route}/keys/{slots[0]['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "key_slot_in_use")
    gone = stocked.client.delete(f"/api/v1{route}/keys/{slots[1]['id']}")
    assert gone.status_code == 204
    assert [slot["id"] for slot in stocked.get(f"{route}/keys")["slots"]] == [slots[0]["id"]]
    again = stocked.client.delete(f"/api/v1{route}/keys/{slots[1]['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "key_slot_not_found")


def test_a_further_kit_opens_the_repository(stocked: Place, route: str) -> None:
    made = stocked.post(f"{route}/keys/recovery-kit", status=201)
    [line] = [line for line in made["recovery_kit"].splitlines() if "HFK1-" in line]
    assert opens(stocked, parse_recovery_key(line.strip()))
    kinds = {slot["id"]: slot["kind"] for slot in stocked.get(f"{route}/keys")["slots"]}
    assert kinds[made["slot_id"]] == "recovery"
    assert list(kinds.values()).count("recovery") == 2
    told = stocked.get("/audit", limit=5)["items"]
    assert told[0]["action"] == "repository.recovery_kit"
    assert line.strip() not in str(told)


def test_a_new_passphrase_takes_the_place_of_the_old_one(stocked: Place, route: str) -> None:
    done = change(stocked, route, PASSPHRASE, NEW)
    assert done["still_locked"] == []
    assert opens(stocked, Credential.passphrase(NEW))
    assert not opens(stocked, Credential.passphrase(PASSPHRASE))
    slots = {slot["id"]: slot for slot in stocked.get(f"{route}/keys")["slots"]}
    assert slots[str(done["added"])]["opens_service"]
    # The service opens it with what it keeps now, from the storage.
    stocked.post(f"{route}/refresh")
    assert stocked.get(route)["backup_count"] == 2
    assert NEW not in str(stocked.get("/audit", limit=5)["items"])


def test_a_wrong_passphrase_changes_nothing(stocked: Place, route: str) -> None:
    before = stocked.get(f"{route}/keys")
    assert change(stocked, route, "not this one", NEW, 422)["code"] == "wrong_passphrase"
    assert change(stocked, route, PASSPHRASE, "HFK1-like-a-kit", 422)["code"] == "invalid_input"
    assert stocked.get(f"{route}/keys") == before


def test_a_kit_gives_the_service_a_new_passphrase(stocked: Place, route: str) -> None:
    """The recovery kit stands in for a passphrase that nobody knows any more."""
    made = stocked.post(f"{route}/keys/recovery-kit", status=201)
    [line] = [line for line in made["recovery_kit"].splitlines() if "HFK1-" in line]
    done = change(stocked, route, line.strip(), NEW)
    assert done["removed"] == [made["slot_id"]]
    assert opens(stocked, Credential.passphrase(NEW))
    assert opens(stocked, Credential.passphrase(PASSPHRASE)), "another slot than the one replaced"
