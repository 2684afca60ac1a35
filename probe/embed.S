/* Owns: the bytes of minirun-probe inside minirun. */
  .section .rodata
  .balign 8
  .globl minirun_probe_begin
  .globl minirun_probe_end
minirun_probe_begin:
  .incbin MINIRUN_PROBE_ELF
minirun_probe_end:
  .section .note.GNU-stack,"",@progbits
