#include "capi/options.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "base/text.hpp"

namespace hfr {
namespace {

Status invalid(const std::string& sentence) { return Status(Code::kInvalidArgument, sentence); }

// One setting, checked by the very rule of its environment variable.
Status override_setting(const char* name, const std::string& value, Config& config) {
  for (const ConfigVariable& variable : config_variables()) {
    if (variable.name != name) continue;
    if (variable.set(value, config)) return Status();
    return invalid(cat("hfr_comm_options_t: ", value, " for what ", name,
                       " sets is not allowed: it must be ", variable.allowed));
  }
  return Status(Code::kInternalError, cat("no setting is called ", name));
}

// How many fields an aggregate without arrays and bases has: as many as it can be made of.
struct Anything {
  template <typename Field>
  operator Field() const;
};
template <typename Aggregate, typename... Fields>
constexpr size_t num_fields() {
  if constexpr (requires { Aggregate{Fields()..., Anything()}; }) {
    return num_fields<Aggregate, Fields..., Anything>();
  } else {
    return sizeof...(Fields);
  }
}

// Whether a struct of `size` bytes ends inside one of its fields: no version's does.
bool cuts_a_field(size_t size) {
  using Options = hfr_comm_options_t;
  struct Field {
    size_t begin, bytes;
  };
#define HFR_FIELD(name) \
  Field { offsetof(Options, name), sizeof(Options::name) }
  constexpr Field kFields[] = {HFR_FIELD(size),          HFR_FIELD(non_blocking),
                               HFR_FIELD(timeout_ms),    HFR_FIELD(chunk_bytes),
                               HFR_FIELD(window),        HFR_FIELD(host_id),
                               HFR_FIELD(device),        HFR_FIELD(reserved),
                               HFR_FIELD(service_level), HFR_FIELD(traffic_class)};
#undef HFR_FIELD
  static_assert(std::size(kFields) == num_fields<Options>(), "a field is not listed");
  return std::any_of(std::begin(kFields), std::end(kFields), [&](const Field& field) {
    return size > field.begin && size < field.begin + field.bytes;
  });
}

}  // namespace

Status apply_options(const hfr_comm_options_t* options, Config& config, bool& non_blocking) {
  hfr_comm_options_t known = HFR_COMM_OPTIONS_INIT;
  if (options->size == 0 || options->size > 4096 || cuts_a_field(options->size)) {
    return invalid(
        cat("hfr_comm_options_t: size is ", options->size, "; start from HFR_COMM_OPTIONS_INIT"));
  }
  std::memcpy(&known, options, std::min(options->size, sizeof(known)));
  non_blocking = known.non_blocking != 0;
  if (known.timeout_ms != 0) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_TIMEOUT_MS", cat(known.timeout_ms), config));
  }
  if (known.chunk_bytes != 0) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_CHUNK_BYTES", cat(known.chunk_bytes), config));
  }
  if (known.window != 0) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_WINDOW", cat(known.window), config));
  }
  if (known.host_id != nullptr) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_HOSTID", known.host_id, config));
  }
  if (known.service_level != 0) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_IB_SL", cat(known.service_level), config));
  }
  if (known.traffic_class != 0) {
    HFR_RETURN_IF_ERROR(override_setting("HFREDUCE_IB_TC", cat(known.traffic_class), config));
  }
  // As a number: the caller's may be none of the enumeration's.
  const auto device = static_cast<int>(known.device);
  switch (device) {
    case HFR_DEVICE_DEFAULT:
      return Status();
    case HFR_DEVICE_HOST:
      config.device = "host";
      return Status();
    case HFR_DEVICE_CUDA:
      config.device = "cuda";
      return Status();
    default:
      return invalid(cat("hfr_comm_options_t: device ", device, " is no hfr_device_t"));
  }
}

}  // namespace hfr
