#include "base/cancel.hpp"

namespace hfr {
namespace {

thread_local const CancelFlag* t_flag = nullptr;

}  // namespace

CancelScope::CancelScope(const CancelFlag* flag) : previous_(t_flag) { t_flag = flag; }
CancelScope::~CancelScope() { t_flag = previous_; }
const CancelFlag* CancelScope::current() { return t_flag; }
bool CancelScope::cancelled() { return t_flag != nullptr && t_flag->is_set(); }

}  // namespace hfr
