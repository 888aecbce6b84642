#pragma once

#include <cstddef>  // for std::size_t, std::ptrdiff_t

namespace cohort::detail {

/// The alignment of every block: that of plain `operator new`, and the most that GCC honours in a coroutine frame.
inline constexpr std::size_t frame_alignment = 16;

/// Memory for one task: its shared state and its coroutine frame in one block.
///
/// Small blocks come from a free list of the calling thread and go back to the list of the thread that frees them; what
/// a thread has too many of, or runs out of, moves to and from a shared store in batches, so that frames freed by the
/// workers find their way home to the thread that submits.
///
/// *Throws*: `std::bad_alloc`. *Thread safety*: any thread. *Complexity*: O(1), no atomic operation in the common case.
[[nodiscard]] void* allocate_frame(std::size_t size);

/// Gives back a block of `allocate_frame(size)`; never allocates.
void free_frame(void* block, std::size_t size) noexcept;

/// How many blocks are in use in the whole process. For tests: exact when no thread is allocating or freeing.
[[nodiscard]] std::ptrdiff_t live_frames() noexcept;

}  // namespace cohort::detail
