#pragma once

#include <cohort/detail/scheduler.hpp>

namespace cohort::detail {

// Futures outlive executors, and know theirs by a plain pointer. This finds out whether it is still there: the
// scheduler with a reference added, or null when it is gone.
[[nodiscard]] Scheduler* pin_if_alive(Scheduler* scheduler) noexcept;

}  // namespace cohort::detail
