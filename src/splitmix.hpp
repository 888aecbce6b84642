#pragma once

#include <cstdint>  // for std::uint64_t

namespace cohort::detail {

// Numbers that are random enough, and the same everywhere: splitmix64, by Sebastiano Vigna,
// https://prng.di.unimi.it/splitmix64.c. A state goes on by the step, and each is scrambled into a number.
inline constexpr std::uint64_t splitmix_step = 0x9e3779b97f4a7c15U;

[[nodiscard]] constexpr std::uint64_t scramble(std::uint64_t state) noexcept {
  state = (state ^ (state >> 30U)) * 0xbf58476d1ce4e5b9U;
  state = (state ^ (state >> 27U)) * 0x94d049bb133111ebU;
  return state ^ (state >> 31U);
}

// In [0, 1).
[[nodiscard]] constexpr double fraction(std::uint64_t number) noexcept {
  return static_cast<double>(number >> 11U) * 0x1p-53;
}

}  // namespace cohort::detail
