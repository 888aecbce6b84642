#pragma once

namespace cohort::detail {

// Whether nobody in the process group runs. Members that are dead count until they are reaped, which is up to init, and
// init may take its time, or be a program that does not know: a `thorough` look can tell, and takes longer.
[[nodiscard]] bool is_dead_group(int group, bool thorough) noexcept;

}  // namespace cohort::detail
