"""Model files: how they are named in lists, and when they count as changed."""


def test_names_of_files_are_the_same_on_every_system(pack, monkeypatch) -> None:
    import folder_paths
    from emo_pack.nodes.paths import checkpoint_files

    names = ["hallo\\net.pth", "echomimic/denoising_unet.pth", "echomimic\\motion_module.pth"]
    monkeypatch.setattr(folder_paths, "get_filename_list", lambda folder: names)
    assert checkpoint_files() == ["hallo/net.pth", "echomimic/denoising_unet.pth"]


def test_a_checkpoint_is_loaded_again_when_its_own_files_change_and_not_for_others(
    pack, tmp_path
) -> None:
    from emo_pack.nodes.paths import checkpoint_state

    main = tmp_path / "denoising_unet.pth"
    for name in (main.name, "motion_module.pth", "another.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "reference_unet.pth").symlink_to(tmp_path / "gone")
    before = checkpoint_state(main)
    assert [name for name, *_ in before] == [main.name, "motion_module.pth"]
    (tmp_path / "another.safetensors").write_bytes(b"12")
    assert checkpoint_state(main) == before
    for changed in (main, tmp_path / "motion_module.pth"):
        changed.write_bytes(b"12")
        assert checkpoint_state(main) != before
        before = checkpoint_state(main)


def test_an_audio_encoder_is_loaded_again_when_its_file_was_replaced(
    pack, tmp_path, monkeypatch
) -> None:
    import folder_paths
    from emo_pack.nodes.loaders import LoadAudioEncoder

    file = tmp_path / "wav2vec2.safetensors"
    file.write_bytes(b"1")
    monkeypatch.setattr(folder_paths, "get_full_path_or_raise", lambda *names: str(file))
    before = LoadAudioEncoder.fingerprint_inputs(file.name)
    assert LoadAudioEncoder.fingerprint_inputs(file.name) == before
    file.write_bytes(b"12")
    assert LoadAudioEncoder.fingerprint_inputs(file.name) != before
