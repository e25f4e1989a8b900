"""Samples the questions with vLLM in a process of its own: ``python -m tests.smollm2.vllm_job DTYPE``.

Prints one line of JSON: ids and logprobs, first greedy, then at temperature 1.
"""

from __future__ import annotations

import json
import sys

from src.config import EngineConfig, RolloutConfig, VLLMConfig
from src.policy.loading import load_codec
from src.rollout.engines.vllm_variables import set_vllm_variables
from tests.smollm2.model import QUESTIONS, model_config


def main(dtype: str) -> None:
    engine = EngineConfig(kind="vllm", vllm=VLLMConfig(eager=True, max_num_seqs=32))
    set_vllm_variables(engine)
    from src.rollout.engines import Request
    from src.rollout.engines.colocated import load_llm
    from src.rollout.engines.vllm import VLLMEngine

    cfg, rollout = model_config(dtype), RolloutConfig(max_prompt_tokens=256, max_tokens=256)
    codec, llm = load_codec(cfg), load_llm(engine, cfg, rollout, seed=0)
    found = []
    for temperature in (0.0, 1.0):
        sampler = VLLMEngine(llm, codec, temperature=temperature, top_p=1.0)
        sampler.start(lambda: None)
        for number, text in enumerate(QUESTIONS * 4):
            chat = [{"role": "user", "content": text}]
            ids = codec.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            sampler.submit(Request(number, list(ids), 60, seed=number))
        done = []
        while sampler.pending:
            done += sampler.poll()
        sampler.stop()
        found.append([(one.token_ids, one.logprobs) for one in sorted(done, key=lambda one: one.id)])
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
