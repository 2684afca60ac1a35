/* Owns: the bytes of the stage program inside minirun. */
  .section .rodata
  .balign 8
  .globl minirun_stage_begin
  .globl minirun_stage_end
minirun_stage_begin:
  .incbin MINIRUN_STAGE_ELF
minirun_stage_end:
  .section .note.GNU-stack,"",@progbits
