#include "bootstrap/launch_env.hpp"

#include "base/text.hpp"

namespace hfr {
namespace {

struct Family {
  const char* rank;
  const char* num_ranks;
};
constexpr Family kFamilies[] = {
    {"RANK", "WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMI_RANK", "PMI_SIZE"},
    {"SLURM_PROCID", "SLURM_NTASKS"},
};
constexpr int kMaxRanks = 1 << 20;

Result<int> read_number(const char* name, const std::string& value, int low, int high) {
  const auto number = parse_whole<int>(value);
  if (!number || *number < low || *number > high) {
    return Status(Code::kInvalidArgument,
                  cat(name, "=", value, " is not allowed: it must be a whole number from ", low,
                      " to ", high));
  }
  return *number;
}

}  // namespace

Result<LaunchInfo> read_launch_info(const Environment& environment) {
  auto get = [&](const char* name) {
    auto value = environment(name);
    return value && !value->empty() ? value : std::nullopt;
  };
  for (const Family& family : kFamilies) {
    auto rank = get(family.rank);
    auto num_ranks = get(family.num_ranks);
    if (!rank && !num_ranks) continue;
    if (!rank || !num_ranks) {
      return Status(Code::kInvalidArgument,
                    cat(rank ? family.rank : family.num_ranks, " is set but ",
                        rank ? family.num_ranks : family.rank, " is not: set both, or neither"));
    }
    LaunchInfo info;
    info.source = cat(family.rank, " and ", family.num_ranks);
    HFR_ASSIGN_OR_RETURN(info.num_ranks, read_number(family.num_ranks, *num_ranks, 1, kMaxRanks));
    HFR_ASSIGN_OR_RETURN(info.rank, read_number(family.rank, *rank, 0, info.num_ranks - 1));
    return info;
  }
  return Status(Code::kInvalidArgument,
                "no launcher says which rank this is: set RANK and WORLD_SIZE, or start with "
                "`hfreduce run`, torchrun, "
                "mpirun or srun");
}

}  // namespace hfr
