"""Prompts in batches on a stand-in host."""

from __future__ import annotations

from support.fake_host import FakeHost, nodes_of_pack, run


def test_prompt_batch(host: FakeHost) -> None:
    node = nodes_of_pack()["SirenPromptBatch"]
    prompts, seeds = run(node, prompts=" a cat \n\n a dog", count=3, seed=5).args
    assert prompts == ["a cat", "a dog", "a cat"]
    assert seeds == [5, 6, 7]
    assert run(node, prompts="", count=1, seed=0).args == ([""], [0])
