"""clip-retrieval's service: the requests and answers of its package, by hand and by its client."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from laion_assets.embeddings.encoder import open_encoder
from laion_assets.search.row_values import RowValues
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import bring_vectors
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.search.test_rankings import paint
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site, run_site
from laion_assets_tests.web.test_rankings import HOSTILE

pytestmark = pytest.mark.slow

# Caption: the vector, which is the mean colour; punsafe, aesthetic score.
ROWS = {
    "tomato": ([9, 1, 1], 0.1, 4.0),
    # Looks like the tomato, at a cosine above 0.98.
    "cherry": ([8, 1, 1], 0.1, 0.0),
    "rose": ([9, 4, 2], 0.1, 9.0),
    "unsafe": ([9, 2, 1], 0.9, 5.0),
    "cucumber": ([1, 9, 1], 0.1, None),
    "sky": ([1, 3, 9], 0.1, 6.0),
    "without a vector": (None, 0.1, 5.0),
}
CAPTIONS = list(ROWS)
HASH = 2**62 + 1
# What ClipClient sends besides.
PLAIN = {"deduplicate": False, "aesthetic_weight": 0, "aesthetic_score": 9, "modality": "image"}
Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Service:
    """Two releases: the first has the rows above, the second a shard more; without an encoder."""

    site: Site
    without_encoder: Site
    first: str
    second: str

    def ask(self, **asked: Any) -> requests.Response:
        """Asks as ClipClient does, which names no content type."""
        body = json.dumps({"indice_name": self.first, "num_images": 40, **PLAIN, **asked})
        return requests.post(f"{self.site.url}/knn-service", data=body, timeout=20)

    def find(self, **asked: Any) -> Answer:
        """Returns the answer to a request that is right."""
        response = self.ask(**asked)
        assert response.status_code == 200, response.text
        answer: Answer = response.json()
        return answer

    def describe(self, ids: list[int], indice_name: str) -> requests.Response:
        """Asks for metadata."""
        body = json.dumps({"ids": ids, "indice_name": indice_name})
        return requests.post(f"{self.site.url}/metadata", data=body, timeout=20)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("clip")
    settings = replace(Settings.default(folder / "data"), sheets={})
    vectors, punsafe, aesthetic = zip(*ROWS.values(), strict=True)
    known = {"punsafe": punsafe, "aesthetic": aesthetic, "nsfw": ["UNLIKELY"] * len(ROWS)}
    bring_vectors(
        settings, "alpha", list(vectors), caption=CAPTIONS, hash=[HASH] * len(ROWS), **known
    )
    first = refresh(settings)
    bring_vectors(settings, "beta", [[5, 5, 5]], caption=["grey"])
    second = refresh(settings)
    encoder = open_encoder(str(EncoderFiles().write(folder / "encoder")))
    store = LanceStore(settings.lance_dir)
    shelves = Shelf(store, encoder=encoder), Shelf(store)
    for shelf in shelves:
        shelf.refresh()
    with run_site(build_app(shelves[0])) as one, run_site(build_app(shelves[1])) as other:
        yield Service(one, other, first, second)


def captions(answer: Answer) -> list[str]:
    return [found["caption"] for found in answer]


@pytest.mark.exhaustive
def test_a_text_finds_pictures_with_what_the_table_knows_of_them(service: Service) -> None:
    response = service.ask(text="red")
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert captions(answer) == ["tomato", "cherry", "rose", "cucumber", "sky"]
    first = answer[0]
    assert first["id"] == 0
    assert first["similarity"] == pytest.approx(9 / 83**0.5, abs=1e-3)
    assert (first["url"], first["NSFW"]) == ("https://alpha.test/0.jpg", "UNLIKELY")
    assert (first["shard"], first["row_index"], first["aesthetic"]) == ("alpha", 0, 4.0)
    # JavaScript would round it.
    assert first["hash"] == str(HASH)
    assert not {"img_emb", "image", "caption_words", "_rowid", "width"} & set(first)


def test_a_text_is_no_query_with_operators(service: Service) -> None:
    assert captions(service.find(text="-green"))[0] == "cucumber"
    assert service.find(text="site:alpha.test xylophone") == []


def test_each_way_to_ask(service: Service) -> None:
    picture = base64.b64encode(paint(10, 220, 20)).decode()
    assert captions(service.find(image=picture))[0] == "cucumber"
    assert captions(service.find(embedding_input=[0.1, 0.2, 3]))[0] == "sky"
    # The image itself is the first, and http and https are one.
    near = service.find(image_url="http://alpha.test/4.jpg")
    assert (near[0]["caption"], near[0]["similarity"]) == ("cucumber", pytest.approx(1, abs=1e-3))
    # As clip-retrieval has it, the first of them counts.
    assert captions(service.find(text="blue", image=picture))[0] == "sky"
    assert captions(service.find(text="", image=picture, embedding_input=[1, 0, 0]))[0] == (
        "cucumber"
    )


def test_unsafe_and_repeated_pictures_are_left_out_where_that_is_asked(service: Service) -> None:
    assert "unsafe" not in captions(service.find(text="red"))
    assert "unsafe" not in captions(service.find(text="red", use_safety_model=True))
    everything = service.find(text="red", use_safety_model=False)
    assert "unsafe" in captions(everything)
    folded = service.find(text="red", deduplicate=True)
    assert captions(folded) == ["tomato", "rose", "cucumber", "sky"]


def test_aesthetic_scores_move_pictures_towards_the_one_that_is_wanted(service: Service) -> None:
    def rank(**asked: Any) -> list[str]:
        return captions(service.find(text="red", **asked))

    assert rank(aesthetic_weight=0.5, aesthetic_score=9)[0] == "rose"
    # 0.0 is a score, and none counts as 5.
    worst = ["cherry", "tomato", "rose", "cucumber", "sky"]
    assert rank(aesthetic_weight=1, aesthetic_score=0) == worst
    best = ["rose", "tomato", "cherry", "sky", "cucumber"]
    assert rank(aesthetic_weight=1, aesthetic_score=9) == best
    # Its form sends texts, and empty ones where nothing is wanted.
    assert rank(aesthetic_weight="0.5", aesthetic_score="9")[0] == "rose"
    for nothing in ("", None):
        assert rank(aesthetic_weight=nothing, aesthetic_score=nothing)[0] == "tomato"
    # Only the order changes: similarities are those of the query.
    weighed = service.find(text="red", aesthetic_weight=0.5)
    plain = service.find(text="red")
    assert {f["id"]: f["similarity"] for f in weighed} == {f["id"]: f["similarity"] for f in plain}


def test_more_ids_than_images_and_their_metadata_later(service: Service) -> None:
    answer = service.find(text="red", num_images=2, num_result_ids=4)
    assert captions(answer[:2]) == ["tomato", "cherry"]
    assert [set(found) for found in answer[2:]] == [{"id", "similarity"}] * 2
    ids = [found["id"] for found in answer[2:]]
    described = service.describe([*reversed(ids), ids[0]], service.first).json()
    assert [row["id"] for row in described] == [*reversed(ids), ids[0]]
    assert [row["metadata"]["caption"] for row in described] == ["cucumber", "rose", "rose"]
    assert service.describe([], service.first).json() == []
    assert len(service.find(text="red", num_images=40_000)) == 5
    assert service.find(text="red", num_images=0) == []


def test_ids_are_positions_in_the_release_that_is_named(service: Service) -> None:
    names = requests.get(f"{service.site.url}/indices-list", timeout=20).json()
    assert names == ["newest", service.second, service.first]
    grey = [f for f in service.find(text="red", indice_name="newest") if f["caption"] == "grey"]
    # All rows of the first release stand before it.
    assert [found["id"] for found in grey] == [len(ROWS)]
    assert grey == [f for f in service.find(text="red", indice_name=None) if f["caption"] == "grey"]
    assert "grey" not in captions(service.find(text="red"))
    (row,) = service.describe([len(ROWS)], "newest").json()
    assert row["metadata"]["caption"] == "grey"
    refused = service.describe([0, len(ROWS)], service.first)
    assert refused.status_code == 400
    assert f"{service.first} has no row {len(ROWS)}" in refused.json()["reason"]
    every = service.describe(list(range(len(ROWS))), service.first).json()
    assert [row["metadata"]["caption"] for row in every] == CAPTIONS


def test_positions_stay_where_rows_were_deleted(tmp_path: Path) -> None:
    import lance
    import numpy as np
    import pyarrow as pa

    # Three fragments.
    table = pa.table({"number": range(30)})
    dataset = lance.write_dataset(table, tmp_path / "t.lance", max_rows_per_file=10)
    dataset.delete("number IN (3, 12) OR number BETWEEN 20 AND 28")
    values = RowValues(dataset)
    rows = dataset.scanner(columns=["number"], with_row_id=True).to_table()
    assert values.locate(rows["_rowid"].to_numpy()) == rows["number"].to_pylist()
    found = values.read_at([29, 0, 12, 13, 0, 30, 2**53], ["number"])
    assert found == [{"number": 29}, {"number": 0}, None, {"number": 13}, {"number": 0}, None, None]
    assert values.read_at([2**53], ["number"]) == [None]
    assert values.locate(np.zeros(0, np.uint64)) == []


BAD = {
    "nothing to look for": ({}, "send one of text"),
    "another model's vector": ({"embedding_input": [1, 2]}, "have 3 numbers"),
    "a vector of nothing": ({"embedding_input": [0, 0, 0]}, "it is zero"),
    "a vector of texts": ({"embedding_input": ["x"] * 9}, "embedding_input.0"),
    "an endless vector": ({"embedding_input": [1] * 20_000}, "embedding_input"),
    "an address that is not there": ({"image_url": "http://alpha.test/99.jpg"}, "is fetched"),
    "an address without a vector": ({"image_url": "http://alpha.test/6.jpg"}, "is fetched"),
    "an address of ours": ({"image_url": "file:///etc/passwd"}, "is fetched"),
    "an unknown release": ({"text": "red", "indice_name": "laion5B-L-14"}, "laion5B-L-14"),
    "captions by meaning": ({"text": "red", "modality": "text"}, "modality"),
    "a model that is not here": ({"text": "red", "use_mclip": True}, "use_mclip"),
    "fewer than none": ({"text": "red", "num_images": -1}, "num_images"),
    "half an image": ({"text": "red", "num_images": 1.5}, "num_images"),
    "a weight beyond 1": ({"text": "red", "aesthetic_weight": 2}, "aesthetic_weight"),
    "a text too long": ({"text": "red " * 1_000}, "text"),
    "no base64": ({"image": "abc"}, "not base64"),
    "no ASCII": ({"image": "ä"}, "not base64"),
    **{
        f"a picture: {name}": ({"image": base64.b64encode(picture).decode()}, reason)
        for name, (picture, reason) in HOSTILE.items()
    },
}


@pytest.mark.parametrize(("asked", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_refused_in_a_line(
    service: Service, asked: dict[str, Any], reason: str
) -> None:
    response = service.ask(**asked)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert reason in response.json()["reason"]
    assert "\n" not in response.text
    assert captions(service.find(text="red"))[0] == "tomato"


@pytest.mark.parametrize("path", ["/knn-service", "/metadata"])
@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"null", b"\xff", b"[" * 50_000])
def test_what_is_no_json_object_is_refused(service: Service, path: str, body: bytes) -> None:
    response = requests.post(service.site.url + path, data=body, timeout=20)
    assert response.status_code == 400
    assert "no JSON object" in response.json()["reason"]


@pytest.mark.parametrize("ids", [None, [-1], ["x"], [2**63], [0] * 1_001])
def test_ids_that_none_can_be_are_refused(service: Service, ids: list[int]) -> None:
    response = service.describe(ids, service.first)
    assert response.status_code == 400
    assert "ids" in response.json()["reason"]


def test_without_an_encoder_vectors_and_addresses_still_find(service: Service) -> None:
    url = f"{service.without_encoder.url}/knn-service"
    asked = {"embedding_input": [1, 0, 0]}, {"image_url": "https://alpha.test/0.jpg"}
    for one in asked:
        assert requests.post(url, json=one, timeout=20).json()[0]["caption"] == "tomato"
    refused = requests.post(url, json={"text": "red"}, timeout=20)
    assert (refused.status_code, "LAION_ENCODER" in refused.json()["reason"]) == (400, True)


def test_another_method_and_another_page_of_a_browser(service: Service) -> None:
    response = service.site.get("/knn-service")
    assert (response.status_code, "takes a POST" in response.json()["reason"]) == (405, True)
    # A page of another site may ask, as its front end does, with a body of no certain type.
    body = json.dumps({"text": "red"})
    headers = {"origin": "https://elsewhere.test", "content-type": "text/plain;charset=UTF-8"}
    url = f"{service.site.url}/knn-service"
    answer = requests.post(url, data=body, headers=headers, timeout=20)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    figures = service.site.get("/metrics").text
    assert 'laion_requests_total{page="knn_service",status="200"}' in figures


def test_the_openapi_document_has_the_service(service: Service) -> None:
    document = service.site.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    bodies: dict[str, dict[str, Any]] = {
        "/knn-service": {"text": "red", "num_images": 2},
        "/metadata": {"ids": [0], "indice_name": service.first},
    }
    for path, body in bodies.items():
        described = document["paths"][path]["post"]
        reference = described["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = schemas[reference.rsplit("/", 1)[1]]
        jsonschema.validate(body, {**schema, "components": document["components"]})
        assert set(body) <= set(schema["properties"])
        answer = requests.post(service.site.url + path, json=body, timeout=20).json()
        listed = described["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, listed)
        assert answer
    listed = document["paths"]["/indices-list"]["get"]["responses"]["200"]
    names = service.site.get("/indices-list").json()
    jsonschema.validate(names, listed["content"]["application/json"]["schema"])
    sent = document["paths"]["/search/picture.json"]["post"]["requestBody"]["content"]
    assert set(sent["multipart/form-data"]["schema"]["properties"]) == {"picture", "vector"}


def test_before_the_first_release(tmp_path: Path) -> None:
    settings = replace(Settings.default(tmp_path / "data"), sheets={})
    shelf = Shelf(LanceStore(settings.lance_dir))
    with run_site(build_app(shelf)) as site:
        for path in ("/knn-service", "/metadata"):
            body: dict[str, Any] = {"text": "red", "ids": [0]}
            response = requests.post(site.url + path, json=body, timeout=20)
            assert (response.status_code, "reason" in response.json()) == (503, True)
        assert site.get("/indices-list").status_code == 503


def test_a_release_without_vectors(released: Released) -> None:
    site, release = released.site, released.release
    assert site.get("/indices-list").json() == []
    body = json.dumps({"embedding_input": [1, 2, 3], "indice_name": release})
    response = requests.post(f"{site.url}/knn-service", data=body, timeout=20)
    assert (response.status_code, "no vectors" in response.json()["reason"]) == (400, True)
    # Its rows can still be asked for.
    body = json.dumps({"ids": [0]})
    answer = requests.post(f"{site.url}/metadata", data=body, timeout=20).json()
    assert answer[0]["metadata"]["row_index"] == 0


@pytest.fixture(scope="module")
def clip_client() -> Any:
    """The client's own module; importing the package would import torch and faiss with it."""
    package = importlib.util.find_spec("clip_retrieval")
    if package is None or package.origin is None:
        pytest.skip("needs `pip install --no-deps clip-retrieval`, whose client it asks with")
    path = Path(package.origin).with_name("clip_client.py")
    spec = importlib.util.spec_from_file_location("clip_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_real_client(service: Service, clip_client: Any, tmp_path: Path) -> None:
    url = f"{service.site.url}/knn-service"
    client = clip_client.ClipClient(url=url, indice_name="newest")
    # By default it folds and hides, and wants beautiful pictures.
    answer = client.query(text="red")
    assert captions(answer)[0] == "rose"
    assert not {"unsafe", "cherry"} & set(captions(answer))
    assert {"id", "similarity", "url", "caption"} <= set(answer[0])

    plain = clip_client.ClipClient(
        url=url,
        indice_name=service.first,
        aesthetic_weight=0,
        num_images=2,
        modality=clip_client.Modality.IMAGE,
        deduplicate=False,
        use_safety_model=False,
        use_violence_detector=False,
    )
    assert captions(plain.query(text="red")) == ["tomato", "cherry"]
    path = tmp_path / "green.png"
    path.write_bytes(paint(10, 220, 20))
    assert captions(plain.query(image=str(path)))[0] == "cucumber"
    assert captions(plain.query(image="https://alpha.test/5.jpg"))[0] == "sky"
    assert captions(plain.query(embedding_input=[0.0, 0.0, 1.0]))[0] == "sky"
    # The client hands on whatever it gets.
    refused = plain.query(image="https://elsewhere.test/1.jpg")
    assert "is fetched" in refused["reason"]
