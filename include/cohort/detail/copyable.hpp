#pragma once

#include <type_traits>  // for std::is_copy_constructible_v

namespace cohort::detail {

template <class T>
concept ContainsOthers = requires(T& container) {
  typename T::value_type;
  container.begin();
}
&&!std::is_same_v<typename T::value_type, T>;

/// Whether a T can really be copied: `std::is_copy_constructible_v` holds for a vector of what cannot.
template <class T>
inline constexpr bool copyable = std::is_copy_constructible_v<T>;
template <ContainsOthers T>
inline constexpr bool copyable<T> = std::is_copy_constructible_v<T>&& copyable<typename T::value_type>;

}  // namespace cohort::detail
