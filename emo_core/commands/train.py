"""`train`: the demo checkpoint from nothing, one step after another.

data -> train vae -> train front-end -> train encode -> train stage 1, 2, 3
-> train latent-reader -> train adversarial -> train guess -> train vae --decoder-of -> train export
train distil is for checkpoints whose weights stay as they are
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import torch

from ..audio.front_end import FrontEnd
from ..checkpoints.emo import Networks, build_networks, save_emo
from ..checkpoints.load import load_networks, load_vae, save_vae
from ..errors import InputError
from ..evaluation.reader_task import READER_TRAINING, train_reader
from ..files.replace import check_target
from ..files.write import write_tensors
from ..training import presets
from ..training.adversarial_task import AdversarialTask
from ..training.distil_task import DistilTask
from ..training.front_end import FrontEndTask
from ..training.guesses import Guesses, guess_frames
from ..training.handover import load_made
from ..training.initialise import initialise
from ..training.latent_reader import (
    LatentReaderTask,
    load_latent_reader,
    save_latent_reader,
)
from ..training.latents import LatentClips, encode_clips
from ..training.loop import Task, fit
from ..training.lora import amplifying_lora
from ..training.presets import Training
from ..training.preview import fit_preview
from ..training.stage_task import StageTask
from ..training.stages import STAGES
from ..training.vae import VAETask

FRONT_END = "train front-end"
"""What makes the files of an audio encoder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(required=True, metavar="STEP")

    vae = steps.add_parser("vae", help="the VAE, from clips")
    vae.add_argument("--clips", type=Path, required=True, metavar="FOLDER")
    going_on = vae.add_mutually_exclusive_group()
    going_on.add_argument(
        "--decoder-of",
        type=Path,
        metavar="FILE",
        help="go on with this VAE's decoder alone; what was encoded by it stays valid",
    )
    going_on.add_argument(
        "--begin",
        type=Path,
        metavar="FILE",
        help="go on with both halves of this VAE, latents held near those of before; encode the "
        "clips anew and let the checkpoint learn from them",
    )
    vae.add_argument(
        "--guesses", type=Path, metavar="FILE", help="from 'guess', for a decoder that goes on"
    )
    vae.set_defaults(step=_train_vae)

    front_end = steps.add_parser("front-end", help="the audio encoder, from generated voices")
    front_end.add_argument("--voices", type=int, default=12000)
    front_end.add_argument(
        "--begin", type=Path, metavar="CHECKPOINT", help="go on with this one's audio encoder"
    )
    front_end.set_defaults(step=_train_front_end)

    stage = steps.add_parser("stage", help="one of the paper's three stages")
    stage.add_argument("number", type=int, choices=sorted(STAGES))
    stage.add_argument("--front-end", type=Path, metavar="FILE", help="for stage 1")
    stage.add_argument(
        "--begin", type=Path, metavar="CHECKPOINT", help="the stage before; none for stage 1"
    )
    stage.set_defaults(step=_train_stage)

    distil = steps.add_parser("distil", help="a checkpoint that needs few steps and no guidance")
    distil.add_argument(
        "--begin", type=Path, required=True, metavar="CHECKPOINT", help="the teacher"
    )
    distil.add_argument("--student-steps", type=int, help="instead of the demo's")
    distil.add_argument("--lessons", type=int, help="instead of the demo's")
    distil.set_defaults(step=_distil)

    latent_reader = steps.add_parser(
        "latent-reader",
        help="a reader of faces and head speed in latents, for adversarial training",
    )
    latent_reader.set_defaults(step=_train_latent_reader)

    adversarial = steps.add_parser(
        "adversarial", help="all weights on, against a critic: sharp in few steps"
    )
    adversarial.add_argument("--begin", type=Path, required=True, metavar="CHECKPOINT")
    adversarial.add_argument(
        "--latent-reader", type=Path, required=True, metavar="FILE", help="from 'latent-reader'"
    )
    adversarial.set_defaults(step=_adversarial)

    guess = steps.add_parser("guess", help="what a checkpoint makes of true frames, for its VAE")
    guess.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    guess.add_argument("--batches", type=int, default=120, help="of 4 clips")
    guess.add_argument("--out", type=Path, required=True, metavar="FILE")
    guess.set_defaults(step=_guess)

    reader = steps.add_parser("reader", help="the reader of faces that evaluation uses")
    reader.add_argument("--people", type=int, default=2000)
    reader.add_argument("--vae", type=Path, metavar="FILE", help="through which some pictures pass")
    reader.set_defaults(step=_train_reader)

    for reading in (stage, distil, latent_reader, adversarial, guess):
        reading.add_argument(
            "--data", type=Path, required=True, metavar="FILE", help="from 'encode'"
        )
    for showing in (stage, distil, adversarial):
        showing.add_argument("--vae", type=Path, required=True, metavar="FILE")
    for trained in (vae, front_end, stage, distil, latent_reader, adversarial, reader):
        trained.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        trained.add_argument("--resume", action="store_true", help="go on with the run in --out")
        trained.add_argument("--steps", type=int, help="instead of the demo's number of steps")
        trained.add_argument("--batch", type=int, help="instead of the demo's")

    encode = steps.add_parser("encode", help="clips to latents and audio features")
    encode.add_argument("--clips", type=Path, required=True, metavar="FOLDER")
    encode.add_argument("--vae", type=Path, required=True, metavar="FILE")
    hearing = encode.add_mutually_exclusive_group(required=True)
    hearing.add_argument("--front-end", type=Path, metavar="FILE", help="for training from nothing")
    hearing.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="whose front end and latent scale to use"
    )
    encode.add_argument("--out", type=Path, required=True, metavar="FILE")
    encode.set_defaults(step=_encode)

    export = steps.add_parser("export", help="a finished run to a checkpoint in half precision")
    export.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    export.add_argument("--vae", type=Path, required=True, metavar="FILE")
    export.add_argument("--data", type=Path, required=True, metavar="FILE", help="its latents")
    export.add_argument(
        "--front-end", type=Path, metavar="FILE", help="in the place of its audio encoder"
    )
    export.add_argument("--description", default="")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    export.set_defaults(step=_export)


def run(options: argparse.Namespace) -> None:
    options.step(options)


def _train_vae(options: argparse.Namespace) -> None:
    path = options.begin or options.decoder_of
    training = _adjusted(presets.VAE if path is None else presets.LATER_VAE, options)
    task = VAETask(
        options.clips,
        batch=training.batch,
        begin=None if path is None else load_vae(path, scale=1.0),
        is_encoder_resting=options.begin is None,
        guesses=None if options.guesses is None else Guesses.load(options.guesses),
    )
    _fit(task, training, options)
    save_vae(task.vae, options.out / "vae.safetensors", dtype=torch.float32)


def _train_front_end(options: argparse.Namespace) -> None:
    training = _adjusted(presets.HEARING, options)
    if options.begin is None:
        front_end = FrontEnd(presets.FRONT_END)
    else:
        _, front_end = _with_front_end(options.begin)
    task = FrontEndTask(front_end, num_voices=options.voices, batch=training.batch)
    _fit(task, training, options)
    write_tensors(options.out / "front_end.safetensors", task.front_end.state_dict())


def _train_stage(options: argparse.Namespace) -> None:
    training = _adjusted(presets.STAGES[options.number], options)
    data = LatentClips.load(options.data)
    networks = _begin(options, latent_scale=float(data.latent_scale))
    vae = load_vae(options.vae, scale=networks.config.latent_scale)
    task = StageTask(networks, STAGES[options.number], data, vae=vae, num_clips=training.batch)
    _fit(task, training, options)
    save_emo(networks, options.out / "model.safetensors", dtype=torch.float32)


def _begin(options: argparse.Namespace, *, latent_scale: float) -> Networks:
    """Return the networks that a stage begins with."""
    if options.number > 1:
        if options.begin is None or options.front_end is not None:
            raise InputError(
                f"stage {options.number}: goes on from the stage before, whose audio encoder it "
                "keeps. Give its model.safetensors as --begin, and no --front-end."
            )
        return load_networks(options.begin)
    if options.front_end is None or options.begin is not None:
        raise InputError(
            "stage 1: begins from nothing but a trained audio encoder. Give it as --front-end, "
            "and no --begin."
        )
    torch.manual_seed(0)
    networks = build_networks(presets.demo_config(latent_scale=latent_scale))
    initialise(networks.backbone, networks.reference_net)
    load_made(networks.front_end, options.front_end, made_by=FRONT_END)
    return networks


def _distil(options: argparse.Namespace) -> None:
    training, student = _adjusted(presets.DISTILLATION, options), presets.STUDENT
    if options.student_steps is not None:
        student = dataclasses.replace(student, steps=options.student_steps)
    if options.lessons is not None:
        student = dataclasses.replace(student, num_lessons=options.lessons)
    networks = load_networks(options.begin)
    task = DistilTask(
        networks,
        student,
        LatentClips.load(options.data),
        vae=load_vae(options.vae, scale=networks.config.latent_scale),
        num_clips=training.batch,
        folder=options.out,
    )
    _fit(task, training, options)
    save_emo(task.finished(), options.out / "model.safetensors", dtype=torch.float16)
    write_tensors(options.out / "lora.safetensors", task.lora())


def _train_latent_reader(options: argparse.Namespace) -> None:
    training = _adjusted(presets.LATENT_READER, options)
    task = LatentReaderTask(LatentClips.load(options.data), batch=training.batch)
    _fit(task, training, options)
    save_latent_reader(task.reader, options.out / "latent_reader.safetensors")


def _adversarial(options: argparse.Namespace) -> None:
    training = _adjusted(presets.ADVERSARIAL, options)
    networks = load_networks(options.begin)
    latent_channels = networks.config.backbone.unet.latent_channels
    task = AdversarialTask(
        networks,
        presets.ADVERSARY,
        LatentClips.load(options.data),
        reader=load_latent_reader(options.latent_reader, latent_channels=latent_channels),
        vae=load_vae(options.vae, scale=networks.config.latent_scale),
        num_clips=training.batch,
    )
    _fit(task, training, options)
    save_emo(task.finished(), options.out / "model.safetensors", dtype=torch.float32)


def _guess(options: argparse.Namespace) -> None:
    check_target(options.out)
    networks, _ = _with_front_end(options.checkpoint)
    data = LatentClips.load(options.data)
    generator = torch.Generator().manual_seed(0)
    guess_frames(networks, data, generator, num_batches=options.batches).save(options.out)


def _train_reader(options: argparse.Namespace) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "train reader: started as one of several processes; expected one, as it draws its "
            "faces first. Start it without torchrun."
        )
    training = _adjusted(READER_TRAINING, options)
    train_reader(
        options.out,
        training=training,
        num_people=options.people,
        vae_path=options.vae,
        resume=options.resume,
    )


def _encode(options: argparse.Namespace) -> None:
    check_target(options.out)
    vae = load_vae(options.vae, scale=1.0)
    if options.checkpoint is None:
        front_end, scale = FrontEnd(presets.FRONT_END).eval(), None
        load_made(front_end, options.front_end, made_by=FRONT_END)
    else:
        networks, front_end = _with_front_end(options.checkpoint)
        scale = networks.config.latent_scale
    encode_clips(options.clips, vae=vae, audio_encoder=front_end, latent_scale=scale).save(
        options.out
    )


def _with_front_end(path: Path) -> tuple[Networks, FrontEnd]:
    """Load a checkpoint that has an audio encoder of its own."""
    networks = load_networks(path)
    if networks.front_end is None:
        raise InputError(
            f"{path}: has no audio encoder of its own, which this training needs. Give a "
            "checkpoint of family emo."
        )
    return networks, networks.front_end


def _export(options: argparse.Namespace) -> None:
    networks = load_networks(options.checkpoint)
    if options.front_end is not None:
        networks, front_end = _with_front_end(options.checkpoint)
        load_made(front_end, options.front_end, made_by=FRONT_END)
    vae = load_vae(options.vae, scale=networks.config.latent_scale)
    preview = fit_preview(LatentClips.load(options.data), vae)
    config = dataclasses.replace(networks.config, latent_preview=preview)
    networks = dataclasses.replace(networks, config=config)
    for path in (options.out / name for name in ("emo", "vae", "loras")):
        path.mkdir(parents=True, exist_ok=True)
    model_path = options.out / "emo" / "emo_demo.safetensors"
    save_emo(networks, model_path, dtype=torch.float16, description=options.description)
    vae_path = options.out / "vae" / "emo_demo_vae.safetensors"
    save_vae(vae, vae_path, dtype=torch.float16, description=options.description)
    lora = amplifying_lora(networks.backbone, gain=0.6, rank=16)
    write_tensors(options.out / "loras" / "emo_demo_lora.safetensors", lora)


def _adjusted(training: Training, options: argparse.Namespace) -> Training:
    """Return a preset with what the user gave in its place."""
    if options.steps is not None:
        loop = dataclasses.replace(training.loop, steps=options.steps)
        training = dataclasses.replace(training, loop=loop)
    if options.batch is not None:
        training = dataclasses.replace(training, batch=options.batch)
    return training


def _fit(task: Task, training: Training, options: argparse.Namespace) -> None:
    if not fit(task, training.loop, options.out, resume=options.resume):
        sys.exit()  # Another process that learned along keeps the result.
