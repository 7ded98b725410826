"""API prompts for the toy checkpoint."""

from comfy_server import Prompt


def node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def talk_prompt(*, seed: int = 1, steps: int = 3, crf: int = 18, speed: float = 12.0) -> Prompt:
    """Portrait and voice to a saved film by the one-node way."""
    return {
        "load": node("EMO_LoadModel", model_name="toy.safetensors", weight_dtype="default"),
        "vae": node("VAELoader", vae_name="toy_vae.safetensors"),
        "portrait": node("LoadImage", image="portrait.png"),
        "voice": node("LoadAudio", audio="voice.wav"),
        "reference": node(
            "EMO_ReferenceEncode",
            reference_net=["load", 1],
            vae=["vae", 0],
            image=["portrait", 0],
            width=0,
            height=0,
            crop="center",
        ),
        "audio": node("EMO_AudioEncode", model=["load", 0], audio=["voice", 0], fps=0.0),
        "region": node("EMO_FaceRegion", reference=["reference", 0], growth=0.1, feather=0),
        "speed": node(
            "EMO_HeadSpeed", speed=speed, landmarks_fps=25.0, landmarks_scale=1.0, smoothing=0.2
        ),
        "sampler": node(
            "EMO_Sampler",
            model=["load", 0],
            reference=["reference", 0],
            emo_audio=["audio", 0],
            face_region=["region", 0],
            head_speed=["speed", 0],
            seed=seed,
            steps=steps,
            guidance=0.0,
            sampler_name="dpmpp_2m",
            scheduler="sgm_uniform",
            reference_weight=1.0,
            audio_weight=1.0,
            speed_weight=1.0,
        ),
        "stitcher": node(
            "EMO_ClipStitcher",
            **{"latents.latent_0": ["sampler", 0]},
            vae=["vae", 0],
            audio=["voice", 0],
            fps=0.0,
            crf=crf,
        ),
        "save": node(
            "SaveVideo",
            video=["stitcher", 0],
            filename_prefix="film",
            format="auto",
            codec="auto",
        ),
    }


def with_images(prompt: Prompt) -> Prompt:
    """The same with the stitcher's IMAGE connected, too."""
    return prompt | {"preview": node("PreviewImage", images=["stitcher", 1])}
