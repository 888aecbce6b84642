#pragma once

#include <iterator>     // for std::iter_reference_t
#include <memory>       // for std::addressof
#include <ranges>       // for std::ranges::view, std::ranges::begin
#include <type_traits>  // for std::remove_cvref_t
#include <utility>      // for std::forward

namespace cohort::detail {

/// A range kept as `std::views::all` keeps it: a view by value, anything else by reference if an lvalue and by value if
/// an rvalue.
///
/// Not `std::views::all` itself, which Clang before 16 does not compile with libstdc++.
template <class Range>
class HeldRange {
 public:
  using Kept = std::remove_cvref_t<Range>;
  static constexpr bool is_reference = std::is_lvalue_reference_v<Range> && !std::ranges::view<Kept>;
  /// Whether the elements are ours to move from: those of a container that was given away.
  static constexpr bool owns_elements = !is_reference && !std::ranges::view<Kept>;

  using Iterator = std::ranges::iterator_t<std::conditional_t<is_reference, std::remove_reference_t<Range>, Kept>>;
  using Element =
      std::conditional_t<owns_elements, std::iter_rvalue_reference_t<Iterator>, std::iter_reference_t<Iterator>>;

  explicit HeldRange(Range&& range) : range_(hold(range)) {}
  HeldRange(const HeldRange&) = delete;
  HeldRange& operator=(const HeldRange&) = delete;

  [[nodiscard]] Iterator begin() { return std::ranges::begin(get()); }
  [[nodiscard]] bool is_end(const Iterator& iterator) { return iterator == std::ranges::end(get()); }
  [[nodiscard]] static Element element(const Iterator& iterator) {
    if constexpr (owns_elements) {
      return std::ranges::iter_move(iterator);
    } else {
      return *iterator;
    }
  }

 private:
  [[nodiscard]] static decltype(auto) hold(std::remove_reference_t<Range>& range) {
    if constexpr (is_reference) {
      return std::addressof(range);
    } else {
      return static_cast<Range&&>(range);
    }
  }
  [[nodiscard]] auto& get() noexcept {
    if constexpr (is_reference) {
      return *range_;
    } else {
      return range_;
    }
  }

  std::conditional_t<is_reference, std::remove_reference_t<Range>*, Kept> range_;
};

}  // namespace cohort::detail
