// The bytes of a fuzzer's input, as numbers, and what to do when a promise is broken.
#pragma once

#include <cstddef>  // for size_t
#include <cstdint>  // for uint8_t
#include <cstdio>   // for fprintf
#include <cstdlib>  // for abort

namespace fuzz {

/// The input, read from the front. At its end everything is zero.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  [[nodiscard]] bool empty() const { return next_ == end_; }
  std::uint8_t byte() { return empty() ? std::uint8_t{0} : *next_++; }
  /// From zero to `count`, less one.
  std::size_t below(std::size_t count) { return byte() % count; }
  /// Of `bytes` bytes.
  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8U | byte();
    return value;
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

/// Ends the program, for libFuzzer to keep the input, unless `condition` holds.
inline void require(bool condition, const char* promise) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

}  // namespace fuzz
