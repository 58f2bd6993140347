// RUN: emoe-opt %s --split-input-file --verify-diagnostics

#q4 = #emoe.layout<bits = 4, type = f16, group = 96, zero_point = symmetric, codebook = integer, panel = 16>
func.func @group(%w: !llvm.ptr, %x: !llvm.ptr) {
  // expected-error @+1 {{weights with scales must be symmetric, in groups of 32, 64, 128 or 256 with f16 scales}}
  %y = emoe.tile_product %w [%x : !llvm.ptr] #q4 columns 64 q8 : !llvm.ptr -> vector<16xf32>
  return
}

// -----

#f16 = #emoe.layout<bits = 16, type = f16, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
func.func @q8(%w: !llvm.ptr, %x: !llvm.ptr) {
  // expected-error @+1 {{q8 rows need weights with scales, not 16 bits}}
  %y = emoe.tile_product %w [%x : !llvm.ptr] #f16 columns 64 q8 : !llvm.ptr -> vector<16xf32>
  return
}

// -----

#f16 = #emoe.layout<bits = 16, type = f16, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
func.func @results(%w: !llvm.ptr, %x: !llvm.ptr) {
  // expected-error @+1 {{has 1 rows and 2 results}}
  %y:2 = emoe.tile_product %w [%x : !llvm.ptr] #f16 columns 64 : !llvm.ptr -> vector<16xf32>, vector<16xf32>
  return
}

// -----

#row = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
func.func @panel(%w: !llvm.ptr, %x: !llvm.ptr) {
  // expected-error @+1 {{weights must be in panels of 16 rows, not 1}}
  %y = emoe.tile_product %w [%x : !llvm.ptr] #row columns 64 : !llvm.ptr -> vector<16xf32>
  return
}
