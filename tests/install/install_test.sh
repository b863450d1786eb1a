#!/usr/bin/env bash
# Installs the library into a fresh prefix and builds the README's programs against it, as a user would: in C and in
# C++, through find_package and through pkg-config; then runs them.
# usage: install_test.sh BUILD_DIR SOURCE_DIR
set -euo pipefail
build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null

# The README's first fenced block of a language is the program.
extract() { awk -v fence="\`\`\`$1" '$0 == fence && !seen { on = 1; seen = 1; next } on && $0 == "```" { exit } on' "$source/README.md"; }
extract cpp >"$work/example.cc"
extract c >"$work/example.c"
[ "$(grep -c . "$work/example.cc")" -ge 8 ] && [ "$(grep -c . "$work/example.c")" -ge 8 ] ||
  { echo "README.md has no program to build"; exit 1; }

cat >"$work/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(example LANGUAGES C CXX)
find_package(hfreduce REQUIRED)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_C_STANDARD 99)
add_executable(example_cpp example.cc)
target_link_libraries(example_cpp PRIVATE hfreduce::hfreduce)
add_executable(example_c example.c)
target_link_libraries(example_c PRIVATE hfreduce::hfreduce)
CMAKE
cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name hfreduce.pc)")
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(pkg-config --variable=libdir hfreduce)
read -ra flags <<<"$(pkg-config --cflags --libs hfreduce)"
g++ -std=c++17 -Wall -Wextra -Werror -o "$work/pc_cpp" "$work/example.cc" "${flags[@]}"
gcc -std=c99 -Wall -Wextra -Werror -pedantic -o "$work/pc_c" "$work/example.c" "${flags[@]}"

for program in "$work/build/example_cpp" "$work/build/example_c" "$work/pc_cpp" "$work/pc_c"; do
  output=$("$work/prefix/bin/hfreduce" run --nodes 2 --ranks-per-node 2 -- "$program")
  [ "$output" = "every element is 4" ] || { echo "$program printed: $output"; exit 1; }
done
echo "the installed package builds and runs the README's programs"
