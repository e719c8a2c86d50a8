mod support;
#[test] fn gen() { std::fs::write("../fuzz/corpus/component/nothing.wasm", support::guest("global.get $answer")).unwrap(); 
 std::fs::write("../fuzz/corpus/component/loops.wasm", support::guest("(loop (br 0)) unreachable")).unwrap(); }
