/* Owns: the bytes of the page of `probe report --html` inside minirun; none when it was built without npm. */
  .section .rodata
  .balign 8
  .globl minirun_probe_page_begin
  .globl minirun_probe_page_end
minirun_probe_page_begin:
  .incbin MINIRUN_PROBE_PAGE
minirun_probe_page_end:
  .section .note.GNU-stack,"",@progbits
