// The numbers and choices that a call is given besides its images.

#ifndef JAX_FUSED_SSIM_COMMON_PARAMETERS_H_
#define JAX_FUSED_SSIM_COMMON_PARAMETERS_H_

namespace jax_fused_ssim {

struct Parameters {
  double data_range = 1;
  double k1 = 0.01;
  double k2 = 0.03;
  double scale = 1;        // multiplies the sums of 1 - SSIM
  double error_scale = 1;  // multiplies the sums of errors
  // What the gradients have of each sum: of 1 - SSIM, |d| and d^2.
  double ssim_weight = 1;
  double l1_weight = 0;
  double l2_weight = 0;
  bool pad_z = false;   // whether zeros are read before and behind a volume
  bool pad_y = false;   // above and below the image
  bool pad_x = false;   // and left and right of it
  bool crop_y = false;  // whether errors are counted in the rows of the map alone
  bool crop_x = false;  // and in its columns
  bool channels_last = false;
  bool volumes = false;  // whether images and windows have depth
};

// What a number may be, NaN never: where the arithmetic is in float, and in double.
// There value and gradients lose no digit to the exponent's range, and are finite for
// flat images too, whose variance is rounding error.
struct Bounds {
  double least, most;
};

// A member of Parameters under the name that it has as an attribute of a custom call.
// One of the two pointers is null.
struct Parameter {
  const char* name;
  double Parameters::* number;
  bool Parameters::* flag;
  bool bounded;
  Bounds in_float, in_double;
};

constexpr Parameter bounded_number(const char* name, double Parameters::* number,
                                   Bounds in_float, Bounds in_double) {
  return {name, number, nullptr, true, in_float, in_double};
}
constexpr Parameter any_number(const char* name, double Parameters::* number) {
  return {name, number, nullptr, false, {}, {}};
}
constexpr Parameter flag(const char* name, bool Parameters::* flag) {
  return {name, nullptr, flag, false, {}, {}};
}

constexpr Parameter kParameters[] = {
    bounded_number("data_range", &Parameters::data_range, {1e-25, 1e25},
                   {1e-250, 1e250}),
    bounded_number("k1", &Parameters::k1, {1e-8, 1e8}, {1e-70, 1e70}),
    bounded_number("k2", &Parameters::k2, {1e-8, 1e8}, {1e-70, 1e70}),
    any_number("scale", &Parameters::scale),
    any_number("error_scale", &Parameters::error_scale),
    any_number("ssim_weight", &Parameters::ssim_weight),
    any_number("l1_weight", &Parameters::l1_weight),
    any_number("l2_weight", &Parameters::l2_weight),
    flag("pad_z", &Parameters::pad_z),
    flag("pad_y", &Parameters::pad_y),
    flag("pad_x", &Parameters::pad_x),
    flag("crop_y", &Parameters::crop_y),
    flag("crop_x", &Parameters::crop_x),
    flag("channels_last", &Parameters::channels_last),
    flag("volumes", &Parameters::volumes),
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_PARAMETERS_H_
