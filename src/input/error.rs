//! Everything that can be wrong with a file, with its path and the numbers.

use crate::tensor::Shape;
use std::io;
use std::path::PathBuf;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The operating system's answer.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than may be read into memory.
    #[error("{}: larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read of such a file.
        limit: u64,
    },
    /// A device, which may never end.
    #[error("{}: a device, not a file", path.display())]
    Device {
        /// The device.
        path: PathBuf,
    },
    /// The folder to write into is not there.
    #[error("{}: its folder does not exist; make it first", path.display())]
    NoFolder {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// Neither by name nor a folder one of the kinds that are read.
    #[error("{}: not a .png, .npy or .safetensors file, nor a folder of .png files", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// The model's normalisation fits neither one channel nor all.
    #[error(
        "the input has {channels} channels, its normalisation {means} means and {stds} standard \
         deviations; wanted finite numbers, one or {channels} of each, deviations and scale not 0"
    )]
    Normalisation {
        /// Channels of the model's input.
        channels: usize,
        /// How many means there are.
        means: usize,
        /// How many standard deviations there are.
        stds: usize,
    },
    /// Not a PNG, or a broken one.
    #[error("{}: not a usable PNG image: {source}", path.display())]
    Png {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// Samples that have no raw pixel of 0..255.
    #[error("{}: {found:?} samples; wanted 8-bit grey or RGB", path.display())]
    PngSamples {
        /// The file.
        path: PathBuf,
        /// The colour type found.
        found: image::ColorType,
    },
    /// Transparent pixels, whose colour is anybody's guess.
    #[error("{}: has transparent pixels; flatten the image onto a background", path.display())]
    Transparent {
        /// The file.
        path: PathBuf,
    },
    /// A PNG for a model whose input is not an image of one or three channels.
    #[error("{}: a PNG image has 1 or 3 channels; the model's input is {wanted}", path.display())]
    PngChannels {
        /// The file.
        path: PathBuf,
        /// The model's input.
        wanted: Shape,
    },
    /// Not an npy array that is read here.
    #[error("{}: {fault}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: NpyFault,
    },
    /// Not a safetensors file.
    #[error("{}: {fault}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: SafetensorsFault,
    },
    /// A safetensors file without images.
    #[error("{}: has neither `images` (U8, raw pixels) nor `input` (floats, normalised)", path.display())]
    NoImageTensor {
        /// The file.
        path: PathBuf,
    },
    /// A tensor of a type that makes no sense there.
    #[error("{}: `{name}` is of type {found}; wanted {wanted}", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// Its type.
        found: String,
        /// The types that are read.
        wanted: &'static str,
    },
    /// Images of another size than the model's.
    #[error("{}: found {found}, wanted {}{}", path.display(), either(wanted), framed(*pad))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The shape found.
        found: Shape,
        /// The shapes of one image that fit; arrays may have one more axis in front.
        wanted: Vec<Shape>,
        /// The frame with which raw images of that size would fit.
        pad: Option<usize>,
    },
    /// No image at all.
    #[error("{}: holds no image", path.display())]
    NoImages {
        /// The file or folder.
        path: PathBuf,
    },
    /// More images than may be held in memory.
    #[error("{}: {images} images of {shape} are more than {limit} numbers", path.display())]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// How many.
        images: usize,
        /// The shape of each, framed.
        shape: Shape,
        /// The most numbers that are held.
        limit: usize,
    },
    /// An infinite number, or none.
    #[error("{}: image {image} holds a number that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The image's index.
        image: usize,
    },
    /// As many labels as images are wanted.
    #[error("{}: {labels} labels for {images} images", path.display())]
    LabelCount {
        /// The file.
        path: PathBuf,
        /// Labels found.
        labels: usize,
        /// Images found.
        images: usize,
    },
    /// A label that is no class.
    #[error("{}: label {label} of image {image} is not a class", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The image's index.
        image: usize,
        /// The label found.
        label: i128,
    },
    /// A folder in which only some files name their class.
    #[error("{}: its name does not begin with a class and `_`, as others in the folder do", path.display())]
    LabelName {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with an npy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyFault {
    /// The first bytes are others.
    #[error("not an npy file")]
    Magic,
    /// A format version that does not exist.
    #[error("npy format {major}.{minor}; wanted 1.0, 2.0 or 3.0")]
    Version {
        /// Major number.
        major: u8,
        /// Minor number.
        minor: u8,
    },
    /// A header longer than the file or than any array of numbers needs.
    #[error("npy header of {length} bytes does not fit the file, or the limit of {limit}")]
    HeaderLength {
        /// The length that the file states.
        length: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// A header that is not a dictionary of `descr`, `fortran_order` and `shape`.
    #[error("malformed npy header at its byte {at}")]
    Header {
        /// Where in the header.
        at: usize,
    },
    /// Elements that are neither raw pixels nor floats.
    #[error("npy elements of type `{found}`; wanted `|u1` (raw pixels), `<f4` or `<f8` (normalised)")]
    ElementType {
        /// numpy's name of the type.
        found: String,
    },
    /// Column-major order.
    #[error("npy array in Fortran order; save `numpy.ascontiguousarray(x)`")]
    FortranOrder,
    /// More or fewer bytes than the shape says.
    #[error("npy data has {found} bytes, its shape {shape} wants {wanted}")]
    DataLength {
        /// The array's shape.
        shape: Shape,
        /// Bytes behind the header.
        found: usize,
        /// Bytes that the shape wants, saturating.
        wanted: usize,
    },
}

/// What is wrong with a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsFault {
    /// A header longer than the file or than any network needs.
    #[error(
        "not a safetensors file: a header of {length} bytes does not fit the file, or the limit of {limit}"
    )]
    HeaderLength {
        /// The length that the file states.
        length: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// A header that does not describe tensors.
    #[error("malformed safetensors header: {0}")]
    Header(serde_json::Error),
    /// More or fewer bytes than the header describes.
    #[error("safetensors data has {found} bytes, its header describes {wanted}")]
    DataLength {
        /// Bytes behind the header.
        found: usize,
        /// Bytes that the header describes.
        wanted: usize,
    },
}

fn either(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" or ")
}

/// What to do where images are only smaller.
fn framed(pad: Option<usize>) -> String {
    pad.map_or_else(String::new, |pad| {
        format!(
            "; `pad: {pad}` among the attributes of the model's input frames such images with zeros (`--pad {pad}` of \
             `stria import` writes it)"
        )
    })
}
