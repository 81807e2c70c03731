//! Layers in coefficients: against plain convolution, on the backends, in whole networks.

mod kernels;
mod networks;
mod scheme;
