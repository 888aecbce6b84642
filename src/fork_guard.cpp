#include "fork_guard.hpp"

#include <cohort/detail/thread_context.hpp>

#include <atomic>  // for std::atomic
#include <new>     // for std::bad_alloc

#if __has_include(<pthread.h>)
#include <pthread.h>  // for pthread_atfork
#endif

namespace cohort::detail {
namespace {

std::atomic<std::uint64_t> generation{0};

}  // namespace

AtFork::AtFork([[maybe_unused]] void (*before)(), [[maybe_unused]] void (*in_parent)(),
               [[maybe_unused]] void (*in_child)()) {
#if __has_include(<pthread.h>)
  if (pthread_atfork(before, in_parent, in_child) != 0) throw std::bad_alloc();
#endif
}

std::uint64_t fork_generation() noexcept {
  return generation.load(std::memory_order_relaxed);  // relaxed: changes only where there is one thread
}

std::uint64_t watch_fork_generation() {
  static const AtFork watching(nullptr, nullptr, [] {
    generation.fetch_add(1, std::memory_order_relaxed);  // relaxed: the child has one thread
    thread_context() = ThreadContext{};                  // which is nobody's worker
  });
  return fork_generation();
}

}  // namespace cohort::detail
