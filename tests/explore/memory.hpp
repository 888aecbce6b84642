// What is allocated during an execution: nothing may be left, and nothing used once it has been freed.
#pragma once

#include <cstddef>  // for std::ptrdiff_t

namespace explore {

struct MemoryReport {
  std::ptrdiff_t left = 0;
  bool written_after_free = false;
};

/// From here on freed memory is filled with a pattern and kept until end_tracking(), which looks at it.
void begin_tracking() noexcept;
MemoryReport end_tracking() noexcept;

/// What is allocated now outlives the execution.
class Untracked {
 public:
  Untracked() noexcept;
  Untracked(const Untracked&) = delete;
  Untracked& operator=(const Untracked&) = delete;
  ~Untracked();
};

}  // namespace explore
