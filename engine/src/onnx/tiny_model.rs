//! The smallest useful ONNX file, `y = softmax(x · w)`, written byte by byte for tests (onnx.proto's field numbers).

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn node(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes()));
    inputs.chain(bytes(2, output.as_bytes())).chain(bytes(4, kind.as_bytes())).collect()
}

/// A ValueInfoProto: a tensor of f32 of shape [1, width].
fn value(name: &str, width: u64) -> Vec<u8> {
    let dimension = |extent: u64| bytes(1, &number(1, extent));
    let shape = [dimension(1), dimension(width)].concat();
    let tensor = [number(1, 1), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

/// A model with input `x` of `[1, inputs]`, output `y`, and these weights, row by row.
pub(super) fn softmax(inputs: u64, weights: &[f32]) -> Vec<u8> {
    let outputs = weights.len() as u64 / inputs;
    let raw: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let initializer = [number(1, inputs), number(1, outputs), number(2, 1), bytes(8, b"w"), bytes(9, &raw)].concat();
    let graph = [
        bytes(1, &node("MatMul", &["x", "w"], "s")),
        bytes(1, &node("Softmax", &["s"], "y")),
        bytes(2, b"tiny"),
        bytes(5, &initializer),
        bytes(11, &value("x", inputs)),
        bytes(12, &value("y", outputs)),
    ]
    .concat();
    let opset = [bytes(1, b""), number(2, 17)].concat();
    [number(1, 8), bytes(8, &opset), bytes(7, &graph)].concat()
}
