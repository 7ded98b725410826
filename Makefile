# make demo   render the bundled portrait and voice to outputs/demo.mp4
# make test   the whole test suite
# make faults crashes, full disks, damaged files: TIMES=10 times as many as the suite's
# make bench  compare speeds, side by side
# make lint   style
# make train  the demo checkpoint from nothing (hours)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
EMO := $(BIN)/python -m emo_core
# Threads that spin while they wait slow everything that runs beside them.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test faults bench lint setup train

setup: $(READY)

# The trio is matched: torchaudio refuses a torch that was built for another CUDA version.
$(READY): requirements.txt requirements-train.txt tests/requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-train.txt -r tests/requirements.txt
	touch $@

# Tests of the nodes need a real ComfyUI and what it needs; without one they are left out.
COMFYUI_PATH ?= $(HOME)/comfy/ComfyUI
ifneq ($(wildcard $(COMFYUI_PATH)/requirements.txt),)
COMFYUI_READY := .venv/.comfyui
endif
$(COMFYUI_READY): $(COMFYUI_PATH)/requirements.txt tests/nodes/requirements.txt | $(READY)
	$(BIN)/python -m pip install --quiet -r $< -r tests/nodes/requirements.txt
	touch $@

demo: setup
	mkdir -p outputs
	$(EMO) animate --portrait emo_core/assets/portrait.png --audio emo_core/assets/voice.flac \
		--speed 12 --out outputs/demo.mp4 --contact-sheet outputs/demo.png

# Files side by side, with the processor's threads shared out: as many at once as it has cores, but
# each takes up to 4 GB of memory.
CORES := $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
WORKERS ?= $(shell $(PYTHON) -c "print(min(4, $(CORES)))")
test: setup $(COMFYUI_READY)
	OMP_NUM_THREADS=$(shell $(PYTHON) -c "print(max(1, $(CORES) // $(WORKERS)))") \
		$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

TIMES ?= 10
faults: setup $(COMFYUI_READY)
	$(BIN)/python -m pytest tests/faults tests/nodes/test_faults.py --faults $(TIMES) -s

bench: setup
	$(BIN)/python -m pytest tests/benchmarks tests/emo_core/video/test_film_lengths.py --benchmarks -s

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

RUNS := runs/demo
train: setup
	$(EMO) data --split train --clips 1533 --out $(RUNS)/clips
	$(EMO) train vae --clips $(RUNS)/clips --out $(RUNS)/vae --resume
	$(EMO) train front-end --out $(RUNS)/front_end --resume
	$(EMO) train encode --clips $(RUNS)/clips --vae $(RUNS)/vae/vae.safetensors \
		--front-end $(RUNS)/front_end/front_end.safetensors --out $(RUNS)/latents.safetensors
	$(EMO) train stage 1 --data $(RUNS)/latents.safetensors --vae $(RUNS)/vae/vae.safetensors \
		--front-end $(RUNS)/front_end/front_end.safetensors --out $(RUNS)/stage1 --resume
	$(EMO) train stage 2 --data $(RUNS)/latents.safetensors --vae $(RUNS)/vae/vae.safetensors \
		--begin $(RUNS)/stage1/model.safetensors --out $(RUNS)/stage2 --resume
	$(EMO) train stage 3 --data $(RUNS)/latents.safetensors --vae $(RUNS)/vae/vae.safetensors \
		--begin $(RUNS)/stage2/model.safetensors --out $(RUNS)/stage3 --resume
	$(EMO) train latent-reader --data $(RUNS)/latents.safetensors --out $(RUNS)/latent_reader --resume
	$(EMO) train adversarial --data $(RUNS)/latents.safetensors --vae $(RUNS)/vae/vae.safetensors \
		--latent-reader $(RUNS)/latent_reader/latent_reader.safetensors \
		--begin $(RUNS)/stage3/model.safetensors --out $(RUNS)/adversarial --resume
	$(EMO) train guess --data $(RUNS)/latents.safetensors \
		--checkpoint $(RUNS)/adversarial/model.safetensors --out $(RUNS)/guesses.safetensors
	$(EMO) train vae --clips $(RUNS)/clips --decoder-of $(RUNS)/vae/vae.safetensors \
		--guesses $(RUNS)/guesses.safetensors --out $(RUNS)/decoder --resume
	$(EMO) train export --checkpoint $(RUNS)/adversarial/model.safetensors \
		--vae $(RUNS)/decoder/vae.safetensors --data $(RUNS)/latents.safetensors --out $(RUNS)/export
