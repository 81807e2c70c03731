//! Images, arrays, labels and weights from files: right values, and errors for everything else.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::path::{Path, PathBuf};
use stria::graph::InputSpec;
use stria::input::{
    self, Data, InputError, NpyFault, SafetensorsFault, SafetensorsWeights, write_atomically,
};
use stria::tensor::Shape;
use stria::weights::{WeightError, WeightSource};

/// A folder that goes with the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn plain(pad: usize) -> InputSpec {
    InputSpec { scale: 1.0, mean: vec![0.0], std: vec![1.0], pad }
}

fn load_bytes(name: &str, bytes: &[u8], spec: &InputSpec, shape: &Shape) -> Result<Data, InputError> {
    input::load(&Folder::new().file(name, bytes), spec, shape)
}

fn png(width: u32, height: u32, colour: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(samples, width, height, colour).unwrap();
    out
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn safetensors(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let view = |&(name, dtype, shape, data): &(_, Dtype, &[usize], _)| {
        (name, TensorView::new(dtype, shape.to_vec(), data).unwrap())
    };
    safetensors::serialize(tensors.iter().map(view).collect::<Vec<(&str, _)>>(), None).unwrap()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fashion_mnist").join(name)
}

#[test]
fn a_small_raw_image_is_framed_with_zeros_before_normalisation() {
    let spec = InputSpec { scale: 0.5, mean: vec![1.0], std: vec![2.0], pad: 1 };
    let shape = Shape::image(1, 4, 3);
    let bytes = png(1, 2, ExtendedColorType::L8, &[10, 20]);
    let data = load_bytes("x.png", &bytes, &spec, &shape).unwrap();
    let f = -0.5;
    assert_eq!(data.images[0].data, [f, f, f, f, 2.0, f, f, 4.5, f, f, f, f]);
    assert_eq!(data.images[0].shape, shape);
    assert_eq!(data.labels, None);

    // Without a frame in the model, the one that would fit is named.
    let none = load_bytes("x.png", &bytes, &plain(0), &shape).unwrap_err();
    assert!(matches!(none, InputError::Shape { pad: Some(1), .. }), "{none}");
    let uneven = load_bytes("x.png", &bytes, &plain(0), &Shape::image(1, 4, 2)).unwrap_err();
    assert!(matches!(uneven, InputError::Shape { pad: None, .. }), "{uneven}");
    let normalised = npy("<f4", "False", "(1, 2, 1)", &floats(&[1.0, 2.0]));
    let normalised = load_bytes("x.npy", &normalised, &plain(0), &shape).unwrap_err();
    assert!(
        matches!(normalised, InputError::Shape { pad: None, .. }),
        "no frame goes around these: {normalised}"
    );

    let full: Vec<u8> = (0..12).collect();
    let data = load_bytes("x.PNG", &png(3, 4, ExtendedColorType::L8, &full), &spec, &shape).unwrap();
    assert_eq!(data.images[0].data[11], (5.5 - 1.0) / 2.0);
}

#[test]
fn colours_become_the_models_channels() {
    let rgb = png(2, 1, ExtendedColorType::Rgb8, &[1, 2, 3, 4, 5, 6]);
    let spec = InputSpec { scale: 1.0, mean: vec![0.0, 1.0, 2.0], std: vec![1.0, 1.0, 0.5], pad: 0 };
    let data = load_bytes("x.png", &rgb, &spec, &Shape::image(3, 1, 2)).unwrap();
    assert_eq!(data.images[0].data, [1.0, 4.0, 1.0, 4.0, 2.0, 8.0]);

    let grey = png(2, 1, ExtendedColorType::L8, &[7, 8]);
    let data = load_bytes("x.png", &grey, &plain(0), &Shape::image(3, 1, 2)).unwrap();
    assert_eq!(data.images[0].data, [7.0, 8.0, 7.0, 8.0, 7.0, 8.0]);

    let green = png(1, 1, ExtendedColorType::Rgb8, &[0, 255, 0]);
    let data = load_bytes("x.png", &green, &plain(0), &Shape::image(1, 1, 1)).unwrap();
    assert!((data.images[0].data[0] - 0.7152 * 255.0).abs() <= 1.0);
}

#[test]
fn alpha_is_dropped_only_where_opaque() {
    let shape = Shape::image(3, 1, 2);
    let opaque = png(2, 1, ExtendedColorType::Rgba8, &[1, 2, 3, 255, 4, 5, 6, 255]);
    let data = load_bytes("x.png", &opaque, &plain(0), &shape).unwrap();
    assert_eq!(data.images[0].data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let glass = png(2, 1, ExtendedColorType::Rgba8, &[1, 2, 3, 255, 4, 5, 6, 254]);
    let error = load_bytes("x.png", &glass, &plain(0), &shape).unwrap_err();
    assert!(matches!(error, InputError::Transparent { .. }), "{error}");
}

#[test]
fn png_images_that_do_not_fit_are_refused() {
    let spec = plain(2);
    let shape = Shape::image(1, 32, 32);
    let error =
        load_bytes("x.png", &png(28, 27, ExtendedColorType::L8, &[0; 756]), &spec, &shape).unwrap_err();
    assert!(error.to_string().ends_with("found [1, 27, 28], wanted [1, 28, 28] or [1, 32, 32]"), "{error}");

    let deep = png(32, 32, ExtendedColorType::L16, &[0; 2048]);
    let error = load_bytes("x.png", &deep, &spec, &shape).unwrap_err();
    assert!(matches!(error, InputError::PngSamples { .. }), "{error}");

    let five = Shape::image(5, 32, 32);
    let error = load_bytes("x.png", &deep, &spec, &five).unwrap_err();
    assert!(matches!(error, InputError::PngChannels { .. }), "{error}");

    let error = load_bytes("x.png", b"no image", &spec, &shape).unwrap_err();
    assert!(matches!(error, InputError::Png { .. }), "{error}");
}

#[test]
fn an_image_bomb_is_refused_by_its_declared_size() {
    let mut bomb = png(1, 1, ExtendedColorType::L8, &[0]);
    bomb[16..20].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    repair_checksums(&mut bomb);
    let error = load_bytes("x.png", &bomb, &plain(2), &Shape::image(1, 32, 32)).unwrap_err();
    let InputError::Shape { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, Shape::image(1, 0x7fff_ffff, 0x7fff_ffff));
}

#[test]
fn npy_arrays_hold_one_image_or_several() {
    let bytes: Vec<u8> = (0..12).collect();
    let cases = [
        (Shape::image(1, 3, 4), "(3, 4)", 1),
        (Shape::image(1, 3, 4), "(1, 3, 4)", 1),
        (Shape::image(1, 1, 4), "(3, 1, 4)", 3),
        (Shape::image(1, 1, 4), "(3, 1, 1, 4)", 3),
        (Shape::image(3, 2, 2), "(3, 2, 2)", 1),
        (Shape::image(3, 2, 1), "(2, 3, 2, 1)", 2),
        (Shape::flat(6), "(2, 6)", 2),
        (Shape::flat(12), "(12,)", 1),
    ];
    for (shape, stored, count) in cases {
        let data = load_bytes("x.npy", &npy("|u1", "False", stored, &bytes), &plain(0), &shape).unwrap();
        assert_eq!(data.images.len(), count, "{stored}");
        let all: Vec<f32> = data.images.iter().flat_map(|i| i.data.clone()).collect();
        assert_eq!(all, (0..12_u8).map(f32::from).collect::<Vec<_>>(), "{stored}");
    }
}

#[test]
fn npy_floats_are_taken_as_normalised() {
    let spec = InputSpec { scale: 0.5, mean: vec![1.0], std: vec![2.0], pad: 0 };
    let shape = Shape::image(1, 1, 2);
    let single = npy("<f4", "False", "(1, 2)", &floats(&[1.5, -2.0]));
    let double: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for bytes in [single, npy("<f8", "False", "(1, 1, 2)", &double)] {
        assert_eq!(load_bytes("x.npy", &bytes, &spec, &shape).unwrap().images[0].data, [1.5, -2.0]);
    }
    let nan = npy("<f4", "False", "(2, 1, 2)", &floats(&[0.0, 0.0, 0.0, f32::NAN]));
    let error = load_bytes("x.npy", &nan, &spec, &shape).unwrap_err();
    assert!(matches!(error, InputError::NotFinite { image: 1, .. }), "{error}");
}

#[test]
fn npy_files_that_are_not_read_say_why() {
    let shape = Shape::image(1, 2, 3);
    let fault = |bytes: &[u8]| match load_bytes("x.npy", bytes, &plain(0), &shape) {
        Err(InputError::Npy { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(b"\x89NUMPY"), NpyFault::Magic);
    assert_eq!(fault(b"\x93NUMPY\x04\x00\x00\x00"), NpyFault::Version { major: 4, minor: 0 });
    let long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}";
    assert_eq!(fault(long), NpyFault::HeaderLength { length: 0xffff_ffff, limit: 4096 });
    assert_eq!(fault(&npy("|u1", "None", "(2, 3)", &[0; 6])), NpyFault::Header { at: 34 });
    assert_eq!(
        fault(&npy("<i8", "False", "(2, 3)", &[0; 48])),
        NpyFault::ElementType { found: "<i8".into() }
    );
    assert_eq!(fault(&npy("|u1", "True", "(2, 3)", &[0; 6])), NpyFault::FortranOrder);
    let (found, wanted) = (5, 6);
    let length = NpyFault::DataLength { shape: Shape::of(&[2, 3]), found, wanted };
    assert_eq!(fault(&npy("|u1", "False", "(2, 3)", &[0; 5])), length);
    let huge = fault(&npy("<f8", "False", "(9223372036854775807, 9223372036854775807)", &[]));
    assert!(matches!(huge, NpyFault::DataLength { wanted: usize::MAX, .. }), "{huge}");
    let none = load_bytes("x.npy", &npy("|u1", "False", "(0, 2, 3)", &[]), &plain(0), &shape).unwrap_err();
    assert!(matches!(none, InputError::NoImages { .. }), "{none}");
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    // Raw images of one pixel, framed to 4000 x 4000.
    let spec = plain(2000);
    let many = npy("|u1", "False", "(1000, 1, 1)", &[0; 1000]);
    let error = load_bytes("x.npy", &many, &spec, &Shape::image(1, 4001, 4001)).unwrap_err();
    assert!(matches!(error, InputError::TooMany { images: 1000, .. }), "{error}");
}

#[test]
fn safetensors_images_come_with_labels_of_any_integer_type() {
    let shape = Shape::image(1, 1, 2);
    let pixels = [1, 2, 3, 4];
    let cases: [(Dtype, Vec<u8>); 4] = [
        (Dtype::U8, vec![7, 200]),
        (Dtype::I16, vec![7, 0, 200, 0]),
        (Dtype::U32, vec![7, 0, 0, 0, 200, 0, 0, 0]),
        (Dtype::I64, [7_i64, 200].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for (dtype, labels) in &cases {
        for dims in [&[2, 1, 2][..], &[2, 1, 1, 2]] {
            let bytes =
                safetensors(&[("images", Dtype::U8, dims, &pixels), ("labels", *dtype, &[2], labels)]);
            let data = load_bytes("x.safetensors", &bytes, &plain(0), &shape).unwrap();
            assert_eq!(data.labels, Some(vec![7, 200]), "{dtype:?}");
            assert_eq!(data.images[1].data, [3.0, 4.0]);
        }
    }
}

#[test]
fn safetensors_input_is_normalised_already_and_yields_to_images() {
    let shape = Shape::image(1, 1, 2);
    let spec = InputSpec { scale: 0.5, mean: vec![1.0], std: vec![2.0], pad: 0 };
    let values = floats(&[0.25, -8.0]);
    let alone = safetensors(&[("input", Dtype::F32, &[1, 1, 1, 2], &values)]);
    let data = load_bytes("x.safetensors", &alone, &spec, &shape).unwrap();
    assert_eq!((data.images[0].data.as_slice(), data.labels), ([0.25, -8.0].as_slice(), None));
    let both = safetensors(&[
        ("images", Dtype::U8, &[1, 1, 2], &[2, 6]),
        ("input", Dtype::F32, &[1, 1, 1, 2], &values),
    ]);
    let data = load_bytes("x.safetensors", &both, &spec, &shape).unwrap();
    assert_eq!(data.images[0].data, [0.0, 1.0]);
}

#[test]
fn safetensors_that_do_not_fit_say_why() {
    let shape = Shape::image(1, 1, 2);
    let error =
        |tensors: &[_]| load_bytes("x.safetensors", &safetensors(tensors), &plain(0), &shape).unwrap_err();
    let images = ("images", Dtype::U8, &[2, 1, 2][..], &[0; 4][..]);
    let float = floats(&[0.0; 2]);
    let cases = [
        (error(&[("x", Dtype::U8, &[1], &[0])]), "neither `images`"),
        (error(&[("images", Dtype::F32, &[1, 2], &float)]), "`images` is of type F32; wanted U8"),
        (error(&[("input", Dtype::U8, &[1, 2], &[0; 2])]), "`input` is of type U8; wanted F32"),
        (error(&[("images", Dtype::U8, &[2, 2], &[0; 4])]), "found [2, 2], wanted [1, 1, 2]"),
        (error(&[images, ("labels", Dtype::U8, &[1], &[0])]), "1 labels for 2 images"),
        (error(&[images, ("labels", Dtype::I8, &[2], &[0, 255])]), "label -1 of image 1"),
        (error(&[images, ("labels", Dtype::F32, &[2], &float)]), "`labels` is of type F32"),
    ];
    for (error, text) in cases {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn malformed_safetensors_are_typed_errors() {
    let good = safetensors(&[("w", Dtype::U8, &[4], &[1, 2, 3, 4])]);
    let fault = |bytes: &[u8]| SafetensorsWeights::from_bytes(bytes.to_vec()).err().unwrap();
    let (found, wanted) = (3, 4);
    let cut = fault(&good[..good.len() - 1]);
    let SafetensorsFault::DataLength { found: f, wanted: w } = cut else { panic!("{cut}") };
    assert_eq!((f, w), (found, wanted));
    let mut long = good.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(fault(&long), SafetensorsFault::HeaderLength { length: u64::MAX, .. }));
    let mut early = good;
    early[8] = b'[';
    assert!(matches!(fault(&early), SafetensorsFault::Header(_)));
    // Offsets near the end of the address space must not wrap.
    let header =
        br#"{"a":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#;
    let mut wide = (header.len() as u64).to_le_bytes().to_vec();
    wide.extend(header);
    assert!(matches!(fault(&wide), SafetensorsFault::DataLength { found: 0, .. }));
}

#[test]
fn weights_of_every_number_type_become_floats() {
    let double: Vec<u8> = [1.0_f64, -0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let bytes = safetensors(&[
        ("f32", Dtype::F32, &[2], &floats(&[1.0, -0.5])),
        ("f64", Dtype::F64, &[2], &double),
        ("f16", Dtype::F16, &[2], &[0x00, 0x3c, 0x00, 0xb8]),
        ("bf16", Dtype::BF16, &[2], &[0x80, 0x3f, 0x00, 0xbf]),
        ("i8", Dtype::I8, &[1, 2], &[1, 0xff]),
        ("i64", Dtype::I64, &[], &(-3_i64).to_le_bytes()),
        ("bool", Dtype::BOOL, &[1], &[1]),
        ("nan", Dtype::F16, &[1], &[0x00, 0x7e]),
        ("wide", Dtype::F64, &[1], &1e300_f64.to_le_bytes()),
    ]);
    let weights = SafetensorsWeights::from_bytes(bytes).unwrap();
    assert_eq!(weights.names(), ["bf16", "bool", "f16", "f32", "f64", "i64", "i8", "nan", "wide"]);
    for name in ["f32", "f64", "f16", "bf16"] {
        assert_eq!(weights.load(name).unwrap().data, [1.0, -0.5], "{name}");
    }
    assert_eq!(weights.load("i8").unwrap().shape, Shape::of(&[1, 2]));
    assert_eq!(weights.load("i8").unwrap().data, [1.0, -1.0]);
    assert_eq!(weights.load("i64").unwrap().data, [-3.0]);
    assert_eq!(weights.shape("i64"), Some(Shape::of(&[])));
    assert_eq!(weights.shape("none"), None);
    assert!(matches!(weights.load("none"), Err(WeightError::Missing(_))));
    for name in ["bool", "nan", "wide"] {
        assert!(matches!(weights.load(name), Err(WeightError::Unusable { .. })), "{name}");
    }
}

#[test]
fn a_folder_gives_its_images_in_order_of_name() {
    let folder = Folder::new();
    let shape = Shape::image(1, 1, 1);
    for (name, pixel) in [("7_b.png", 2), ("10_a.png", 1), ("7_a.PNG", 3)] {
        folder.file(name, &png(1, 1, ExtendedColorType::L8, &[pixel]));
    }
    folder.file("notes.txt", b"not an image");
    let data = input::load(folder.0.path(), &plain(0), &shape).unwrap();
    assert_eq!(data.labels, Some(vec![10, 7, 7]));
    assert_eq!(data.images.iter().map(|i| i.data[0]).collect::<Vec<_>>(), [1.0, 3.0, 2.0]);

    folder.file("nameless.png", &png(1, 1, ExtendedColorType::L8, &[0]));
    let error = input::load(folder.0.path(), &plain(0), &shape).unwrap_err();
    assert!(matches!(&error, InputError::LabelName { path } if path.ends_with("nameless.png")), "{error}");

    let unnamed = Folder::new();
    unnamed.file("a.png", &png(1, 1, ExtendedColorType::L8, &[5]));
    assert_eq!(input::load(unnamed.0.path(), &plain(0), &shape).unwrap().labels, None);
    let empty = Folder::new();
    let error = input::load(empty.0.path(), &plain(0), &shape).unwrap_err();
    assert!(matches!(error, InputError::NoImages { .. }), "{error}");
}

#[test]
fn files_that_are_none_are_named() {
    let shape = Shape::image(1, 1, 1);
    let error = input::load(Path::new("/nonexistent/x.png"), &plain(0), &shape).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/x.png: "), "{error}");
    let error = load_bytes("x.jpeg", &[], &plain(0), &shape).unwrap_err();
    assert!(matches!(error, InputError::UnknownKind { .. }), "{error}");
    let spec = InputSpec { mean: vec![0.0; 2], ..plain(0) };
    let error = load_bytes("x.png", &[], &spec, &Shape::image(3, 1, 1)).unwrap_err();
    assert!(matches!(error, InputError::Normalisation { channels: 3, means: 2, stds: 1 }), "{error}");
    let folder = Folder::new();
    let large = folder.file("x.png", &[]);
    std::fs::File::options().write(true).open(&large).unwrap().set_len(1 << 40).unwrap();
    let error = input::load(&large, &plain(0), &shape).unwrap_err();
    assert!(matches!(error, InputError::TooLarge { .. }), "{error}");
}

#[test]
fn files_are_replaced_whole() {
    let folder = Folder::new();
    let path = folder.file("out", b"old content");
    write_atomically(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    write_atomically(&folder.0.path().join("fresh"), b"1").unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(folder.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["fresh", "out"]);
    let error = write_atomically(&folder.0.path().join("none/out"), b"").unwrap_err();
    assert!(matches!(error, InputError::NoFolder { .. }), "{error}");
    assert!(write_atomically(folder.0.path(), b"").is_err());
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_permissions_and_its_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    let path = folder.file("out", b"old");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.path().join("link");
    symlink(&path, &link).unwrap();
    write_atomically(&link, b"new").unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    write_atomically(Path::new("/dev/null"), b"gone").unwrap();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn the_shipped_images_and_weights_are_read() {
    let spec = InputSpec { scale: 1.0 / 255.0, mean: vec![0.2202], std: vec![0.3245], pad: 2 };
    let shape = Shape::image(1, 32, 32);
    let images = input::load(&example("images"), &spec, &shape).unwrap();
    assert_eq!(images.labels, Some((0..30).map(|i| i / 3).collect()));
    let calibration = input::load(&example("calibration.safetensors"), &spec, &shape).unwrap();
    assert_eq!((calibration.images.len(), calibration.labels), (100, None));
    let test = input::load(&example("test200.safetensors"), &spec, &shape).unwrap();
    // The first test image is the first ankle boot.
    assert_eq!(test.images[0], images.images[27]);
    assert_eq!(test.labels.unwrap()[..4], [9, 2, 1, 1]);
    for (file, names, widths) in [("dense.safetensors", 20, 24), ("stria.safetensors", 44, 32)] {
        let weights = SafetensorsWeights::open(&example(file)).unwrap();
        assert_eq!(weights.names().len(), names, "{file}");
        assert_eq!(weights.shape("stem.weight"), Some(Shape::of(&[widths, 1, 3, 3])));
        for name in weights.names() {
            assert!(weights.load(&name).is_ok(), "{file}: {name}");
        }
    }
    let cross = SafetensorsWeights::open(&example("stria.safetensors")).unwrap();
    let cross = cross.load("stage2.0.cross.weight").unwrap();
    assert!(cross.data.chunks(9).all(|k| [k[0], k[2], k[6], k[8]] == [0.0; 4]));
}

/// Makes the checksums of a PNG's chunks right again, so that what was changed is seen.
fn repair_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|end| end + 4 <= png.len()) else { return };
        let crc = png[at + 4..end].iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(c & 1)))
        });
        png[end..end + 4].copy_from_slice(&(!crc).to_be_bytes());
        at = end + 4;
    }
}

/// Writes `edits` into `bytes`, cuts the end off, and may append.
fn mutate(bytes: &mut Vec<u8>, edits: &[(prop::sample::Index, u8)], cut: prop::sample::Index, tail: &[u8]) {
    for (at, value) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    // Half of the time the whole length is kept.
    bytes.truncate((cut.index(2 * bytes.len()) + 1).max(1));
    bytes.extend(tail);
}

fn edits() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, prop::sample::Index, Vec<u8>)> {
    (prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4), any::<prop::sample::Index>(), {
        prop::collection::vec(any::<u8>(), 0..4)
    })
}

/// Loading either fails or gives whole, finite images of the model's shape.
fn loads_or_fails(name: &str, bytes: &[u8]) {
    let spec = InputSpec { pad: 1, ..plain(1) };
    for shape in [Shape::image(1, 5, 6), Shape::image(3, 5, 6), Shape::flat(6)] {
        if let Ok(data) = load_bytes(name, bytes, &spec, &shape) {
            assert!(!data.images.is_empty());
            assert!(data.labels.is_none_or(|l| l.len() == data.images.len()));
            for image in &data.images {
                assert_eq!(image.shape, shape);
                assert_eq!(image.data.len(), shape.elements());
                assert!(image.data.iter().all(|v| v.is_finite()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["x.png", "x.npy", "x.safetensors"] {
            loads_or_fails(name, &bytes);
        }
    }

    #[test]
    fn damaged_png_files_never_panic((edits, cut, tail) in edits(), rgb: bool, repair: bool) {
        let pixels: Vec<u8> = (0..36).collect();
        let mut bytes = if rgb {
            png(4, 3, ExtendedColorType::Rgb8, &pixels)
        } else {
            png(6, 5, ExtendedColorType::L8, &pixels[..30])
        };
        mutate(&mut bytes, &edits, cut, &tail);
        if repair {
            repair_checksums(&mut bytes);
        }
        loads_or_fails("x.png", &bytes);
    }

    #[test]
    fn damaged_npy_files_never_panic((edits, cut, tail) in edits(), raw: bool) {
        let mut bytes = if raw {
            npy("|u1", "False", "(2, 3, 4)", &[9; 24])
        } else {
            npy("<f4", "False", "(1, 5, 6)", &floats(&[0.5; 30]))
        };
        mutate(&mut bytes, &edits, cut, &tail);
        loads_or_fails("x.npy", &bytes);
    }

    #[test]
    fn damaged_safetensors_never_panic((edits, cut, tail) in edits(), raw: bool) {
        let labels = ("labels", Dtype::I16, &[2][..], &[1, 0, 2, 0][..]);
        let values = floats(&[0.5; 60]);
        let mut bytes = if raw {
            safetensors(&[("images", Dtype::U8, &[2, 3, 4], &[9; 24]), labels])
        } else {
            safetensors(&[("input", Dtype::F32, &[2, 1, 5, 6], &values), labels])
        };
        mutate(&mut bytes, &edits, cut, &tail);
        loads_or_fails("x.safetensors", &bytes);
        if let Ok(weights) = SafetensorsWeights::from_bytes(bytes) {
            for name in weights.names() {
                if let Ok(tensor) = weights.load(&name) {
                    assert_eq!(tensor.data.len(), tensor.shape.elements());
                    assert!(tensor.data.iter().all(|v| v.is_finite()));
                }
            }
        }
    }
}
