#pragma once

#include <cstddef>      // for size_t
#include <cwchar>       // for mbrtowc, mbstate_t
#include <cwctype>      // for iswprint
#include <string>       // for string
#include <string_view>  // for string_view

/// A file name as the core utilities write it in their messages: as it is while it is harmless, otherwise quoted the
/// way a shell would read it, and what cannot be printed as `$'\n'` or `$'\377'`. What can is up to the locale.
inline std::string quoted_name(std::string_view name) {
  constexpr std::string_view special = " !\"$&'()*:;<=>?[\\^`|";      // not without quotes …
  constexpr std::string_view never_doubly = "!\"$&()*;<=>?[\\^`{|}";  // … and not within double ones
  constexpr std::string_view controls = "\a\b\t\n\v\f\r", letters = "abtnvfr";

  bool harmless = !name.empty() && name[0] != '#' && name[0] != '~' && name != "{" && name != "}";
  bool double_quotes = name.find('\'') != name.npos && name.find_first_of(never_doubly) == name.npos &&
                       name.find_first_of("#~", 1) == name.npos;
  std::string text;       // what goes between single quotes
  bool escaping = false;  // within $'…'
  std::mbstate_t state{};
  for (std::string_view rest = name; !rest.empty();) {
    wchar_t wide = 0;
    std::size_t length = std::mbrtowc(&wide, rest.data(), rest.size(), &state);
    const bool is_character = length != 0 && length <= rest.size();  // the errors are the largest numbers
    if (!is_character) {
      length = 1;
      state = {};
    }
    const std::string_view character = rest.substr(0, length);
    rest.remove_prefix(length);

    if (character == "'") {
      text += "'\\''";
      harmless = escaping = false;
    } else if (is_character && std::iswprint(static_cast<std::wint_t>(wide)) != 0) {
      if (escaping) text += "''";
      escaping = false;
      text += character;
      harmless = harmless && special.find(character) == special.npos;
    } else {
      harmless = double_quotes = false;
      if (!escaping) text += "'$'";
      escaping = true;
      for (const char c : character) {
        text += '\\';
        if (const std::size_t at = controls.find(c); at != controls.npos) {
          text += letters[at];
        } else {
          const auto byte = static_cast<unsigned char>(c);
          for (const int shift : {6, 3, 0}) text += static_cast<char>('0' + (byte >> shift & 7));
        }
      }
    }
  }
  if (harmless) return std::string(name);
  if (double_quotes) return '"' + std::string(name) + '"';
  return '\'' + text + '\'';
}
