//! Columns of equal length, and the two kinds of file that they are written to.

use super::ExportError;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Numbers or words of a column, row after row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Values in each row if a row holds a list; `None` if it holds a value alone.
    pub(super) width: Option<usize>,
    pub(super) values: Values,
}

impl Column {
    pub(super) fn new(name: impl Into<String>, values: Values) -> Self {
        Self { name: name.into(), width: None, values }
    }

    /// A column of lists of `width` values, at least one, row after row.
    pub(super) fn lists(name: impl Into<String>, width: usize, values: Values) -> Self {
        Self { name: name.into(), width: Some(width), values }
    }

    /// Values in all rows together.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::I64(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// Adds the rows of a column of the same type; of another type, none.
    pub(super) fn append(&mut self, other: Self) {
        match (&mut self.values, other.values) {
            (Values::F32(to), Values::F32(more)) => to.extend(more),
            (Values::F64(to), Values::F64(more)) => to.extend(more),
            (Values::I64(to), Values::I64(more)) => to.extend(more),
            (Values::Bool(to), Values::Bool(more)) => to.extend(more),
            (Values::Text(to), Values::Text(more)) => to.extend(more),
            _ => {}
        }
    }

    fn schema(&self) -> parquet::errors::Result<Type> {
        let (physical, logical) = match self.values {
            Values::F32(_) => (Physical::FLOAT, None),
            Values::F64(_) => (Physical::DOUBLE, None),
            Values::I64(_) => (Physical::INT64, None),
            Values::Bool(_) => (Physical::BOOLEAN, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let primitive = |name| {
            Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::REQUIRED)
                .with_logical_type(logical.clone())
                .build()
        };
        if self.width.is_none() {
            return primitive(&self.name);
        }
        let list = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(primitive("element")?)])
            .build()?;
        Type::group_type_builder(&self.name)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(list)])
            .build()
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>) -> parquet::errors::Result<()> {
        match &self.values {
            Values::F32(values) => self.write_as::<FloatType>(group, values),
            Values::F64(values) => self.write_as::<DoubleType>(group, values),
            Values::I64(values) => self.write_as::<Int64Type>(group, values),
            Values::Bool(values) => self.write_as::<BoolType>(group, values),
            Values::Text(values) => {
                let values: Vec<ByteArray> = values.iter().map(|text| text.as_str().into()).collect();
                self.write_as::<ByteArrayType>(group, &values)
            }
        }
    }

    fn write_as<T: DataType>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
        values: &[T::T],
    ) -> parquet::errors::Result<()> {
        // The schema was made from the same columns.
        let Some(mut writer) = group.next_column()? else { return Ok(()) };
        let levels = self.width.map(|width| {
            // Parquet's levels (Dremel): a list's first value begins a row, and no value is missing.
            let repetition: Vec<i16> = (0..values.len()).map(|i| i16::from(i % width != 0)).collect();
            (vec![1; values.len()], repetition)
        });
        let (definition, repetition) = levels.as_ref().map(|(d, r)| (&d[..], &r[..])).unzip();
        writer.typed::<T>().write_batch(values, definition, repetition)?;
        writer.close()
    }

    fn write_cell(&self, row: usize, out: &mut impl Write) -> io::Result<()> {
        match &self.values {
            Values::F32(values) if values[row].is_nan() => write!(out, ","),
            Values::F64(values) if values[row].is_nan() => write!(out, ","),
            Values::F32(values) => write!(out, "{},", values[row]),
            Values::F64(values) => write!(out, "{},", values[row]),
            Values::I64(values) => write!(out, "{},", values[row]),
            Values::Bool(values) => write!(out, "{},", values[row]),
            // RFC 4180: quotes are doubled.
            Values::Text(values) => write!(out, "\"{}\",", values[row].replace('"', "\"\"")),
        }
    }
}

/// A Parquet file being written: Snappy, a row group a call of [`Self::push`].
pub(super) struct ParquetFile {
    path: PathBuf,
    writer: SerializedFileWriter<BufWriter<File>>,
}

impl ParquetFile {
    /// Creates the file with the columns' names and types; `metadata` is the schema's.
    pub(super) fn create(path: &Path, columns: &[Column], metadata: &[(&str, String)]) -> Result<Self, ExportError> {
        let file = super::create_new(path)?;
        let failed = |cause| ExportError::parquet(path, cause);
        let fields = columns.iter().map(|column| column.schema().map(Arc::new)).collect::<Result<_, _>>();
        let schema = Type::group_type_builder("schema").with_fields(fields.map_err(failed)?).build().map_err(failed)?;
        let metadata = metadata.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(metadata))
            .build();
        let writer = SerializedFileWriter::new(BufWriter::new(file), Arc::new(schema), Arc::new(properties));
        Ok(Self { path: path.to_owned(), writer: writer.map_err(failed)? })
    }

    /// Appends rows; the columns are those of [`Self::create`], in their order.
    pub(super) fn push(&mut self, columns: &[Column]) -> Result<(), ExportError> {
        let mut push = || {
            let mut group = self.writer.next_row_group()?;
            columns.iter().try_for_each(|column| column.write(&mut group))?;
            group.close().map(|_| ())
        };
        push().map_err(|cause| ExportError::parquet(&self.path, cause))
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Writes the footer, without which the file cannot be read.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        let failed = |cause| ExportError::parquet(&self.path, cause);
        self.writer.finish().map_err(failed)?;
        self.writer.inner_mut().flush().map_err(|cause| ExportError::io(&self.path, cause))
    }
}

/// A CSV file of single values being written; one that is not a number is an empty cell.
pub(super) struct CsvFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl CsvFile {
    /// Creates the file with a line of names.
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self, ExportError> {
        let mut out = BufWriter::new(super::create_new(path)?);
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        writeln!(out, "{}", names.join(",")).map_err(|cause| ExportError::io(path, cause))?;
        Ok(Self { path: path.to_owned(), out })
    }

    /// Appends rows.
    pub(super) fn push(&mut self, columns: &[Column], rows: usize) -> Result<(), ExportError> {
        let mut line = Vec::new();
        let mut push = || {
            for row in 0..rows {
                line.clear();
                columns.iter().try_for_each(|column| column.write_cell(row, &mut line))?;
                line.pop();
                line.push(b'\n');
                self.out.write_all(&line)?;
            }
            Ok(())
        };
        push().map_err(|cause| ExportError::io(&self.path, cause))
    }

    /// Hands everything to the operating system.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.out.flush().map_err(|cause| ExportError::io(&self.path, cause))
    }
}
