# seqbayes_extract_page(PAGE DIRECTORY SOURCES) turns the ```cpp blocks of a Markdown page into
# programs, which are compiled and run from the project's root:
#
# - A block with `int main` is a program of its own, PAGE_N.cpp.
# - A block whose code begins with template, namespace, struct, class, enum or inline stands at
#   namespace scope of PAGE.cpp, without the variables of other blocks.
# - All other blocks run in order in main() of PAGE.cpp. Each sees the variables of those before it
#   and may declare them anew.
# - #include lines move to the top. A block inside an HTML comment (<!-- ... -->) counts, so a page
#   can set up variables that its reader need not see.
#
# The fence stands alone on its line, without indentation. Compiler messages give the page's lines.
function(seqbayes_extract_page page directory sources)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  cmake_path(GET page STEM name)
  set(found)
  set(number 0)
  set(line 1)
  set(includes "")
  set(outside "")
  set(inside "")
  set(closing "")
  file(READ ${page} text)
  string(PREPEND text "\n") # a fence on line 1 has a newline before it, too
  while(TRUE)
    string(FIND "${text}" "\n```cpp\n" start)
    if(start EQUAL -1)
      break()
    endif()
    math(EXPR start "${start} + 8")
    seqbayes_take(${start} skipped)
    string(FIND "${text}" "\n```\n" length)
    if(length EQUAL -1)
      message(FATAL_ERROR "${page}: a cpp block is not closed")
    endif()
    math(EXPR first_line "${line} - 1")
    seqbayes_take(${length} block)
    math(EXPR number "${number} + 1")

    set(code "#line ${first_line} \"${page}\"\n${block}\n")
    if(block MATCHES "int main *\\(")
      set(source ${directory}/${name}_${number}.cpp)
      seqbayes_write(${source} "${code}")
      list(APPEND found ${source})
      continue()
    endif()
    string(REGEX MATCHALL "#include *[<\"][^>\"\n]*[>\"]" block_includes "${code}")
    list(JOIN block_includes "\n" block_includes)
    string(APPEND includes "${block_includes}\n")
    string(REGEX REPLACE "#include[^\n]*" "" code "${code}")
    if(code MATCHES "^#line[^\n]*\n([ \n]|//[^\n]*\n)*(template|namespace|struct|class|enum|inline)[ <]")
      string(APPEND outside "${code}")
    else()
      string(APPEND inside "{\n${code}")
      string(APPEND closing "}")
    endif()
  endwhile()
  if(NOT "${outside}${inside}" STREQUAL "")
    set(source ${directory}/${name}.cpp)
    seqbayes_write(${source} "${includes}${outside}int main() {\n${inside}${closing}\n}\n")
    list(APPEND found ${source})
  endif()
  set(${sources} ${found} PARENT_SCOPE)
endfunction()

# Writes a file, unless it has this content already.
function(seqbayes_write file content)
  file(WRITE ${file}.new "${content}")
  file(COPY_FILE ${file}.new ${file} ONLY_IF_DIFFERENT)
endfunction()

# Moves `length` characters from `text` into `part` and counts their lines in `line`.
macro(seqbayes_take length part)
  string(SUBSTRING "${text}" 0 ${length} ${part})
  string(SUBSTRING "${text}" ${length} -1 text)
  string(REGEX MATCHALL "\n" newlines "${${part}}")
  list(LENGTH newlines newlines)
  math(EXPR line "${line} + ${newlines}")
endmacro()
