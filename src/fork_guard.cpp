#include "fork_guard.hpp"

#include <cohort/detail/thread_context.hpp>

#include <atomic>  // for std::atomic

#if __has_include(<pthread.h>)
#include <pthread.h>  // for pthread_atfork
#endif

namespace cohort::detail {
namespace {

std::atomic<std::uint64_t> generation{0};

}  // namespace

std::uint64_t fork_generation() noexcept {
#if __has_include(<pthread.h>)
  // Registered before the first pool is made, since every pool asks.
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    generation.fetch_add(1, std::memory_order_relaxed);  // relaxed: the child has one thread
    thread_context() = ThreadContext{};                  // which is nobody's worker
  });
  static_cast<void>(registered);
#endif
  return generation.load(std::memory_order_relaxed);  // relaxed: changes only where there is one thread
}

}  // namespace cohort::detail
